"""Nothing that is said of an event quotes it: of one that failed not the error, the record, the headers or the log.

Of one that did not fail, the log.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from pipelines.files.jsonl import Line, output_line
from pipelines.streaming.processing import RecordProcessor
from pipelines.streaming.published_events import PublishedEvents
from pipelines.streaming.results import Result
from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.fakes import RecordedMetrics
from protector_models.moderation.policy.policy import Policy, TenantOverrides
from protector_models.moderation.wire.encoded import FailedValue, moderate_encoded
from tests.builders import policy
from tests.pipelines.streaming.records import record
from tests.wire import EVENT, MAX_BYTES, encode, fake_moderator

SECRETS = st.text("BGJKQVWXZ", min_size=8, max_size=40)
"""What no word of ours has eight characters of."""
RUN = 8

NAMES = st.sampled_from([*EVENT, "role", "content", "type", "text", "image_url", "url", "name", "tool_calls", "parts"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | SECRETS
JSON: st.SearchStrategy[JsonValue] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SECRETS | NAMES, inner, max_size=4),
    max_leaves=10,
)
MESSAGES: st.SearchStrategy[JsonValue] = st.lists(st.dictionaries(NAMES, JSON, max_size=4) | JSON, max_size=3)
"""A row whose columns are shifted, a text as a key, a role where the content should be."""
EVENTS = st.builds(
    lambda changes, messages, more: {**EVENT, "messages": messages, **changes, **more},
    st.dictionaries(st.sampled_from(sorted(EVENT)), JSON, max_size=3),
    MESSAGES,
    st.dictionaries(SECRETS, JSON, max_size=2),
)


def runs_in(text: str) -> set[str]:
    return {text[place : place + RUN] for place in range(len(text) - RUN + 1)}


def texts_in(value: object) -> set[str]:
    """Return every string value and key of an event, but for the names of our own fields."""
    if isinstance(value, str):
        return {value} if set(value) <= set("BGJKQVWXZ") else set()
    inner: Sequence[object] = (
        [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    )
    return set().union(*map(texts_in, inner)) if inner else set()


WITH_TENANTS = policy(rewrite_methods={"default": ["complete"]}, tenants={"kids": TenantOverrides(shadow=True)})
REFUSING = policy(
    rewrite_methods={"default": ["complete"]},
    tenants={"kids": TenantOverrides(shadow=True)},
    on_unknown_tenant="refuse",
)


@contextmanager
def logged() -> Iterator[list[str]]:
    """Gather the lines that are logged meanwhile."""
    lines: list[str] = []

    class Gathering(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.getMessage()} {record.exc_text}")

    handler = Gathering()
    logging.getLogger().addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)


async def said_of(value: bytes) -> str:
    """Return everything that is said of bytes that fail, in a file and on the stream, and what is logged of others."""
    with logged() as lines:
        (result,) = await moderate_encoded(fake_moderator(policy=WITH_TENANTS), [value], max_bytes=MAX_BYTES)
    if not isinstance(result, FailedValue):
        return "\n".join(lines)
    line = json.loads(output_line(Line(number=1, content=value), result))
    del line["event_id"]
    metrics = RecordedMetrics()
    processor = RecordProcessor(
        moderator=fake_moderator(), settings=StreamSettings(), versions=lambda: {"weir": "1"}, metrics=metrics
    )
    with structlog.testing.capture_logs() as logs:
        (letter,) = await processor.decide([record(value=value)], published=PublishedEvents(per_partition=0))
    assert isinstance(letter, Result)
    assert letter.is_dead_letter
    assert len(logs) == 1
    assert logs[0].pop("event_id") == result.event_id
    return "\n".join(
        [
            *lines,
            *(result.failure.model_dump_json(), json.dumps(line), json.dumps(logs, default=str)),
            *(f"{name} {content!r}" for name, content in letter.outgoing[0].headers),
            repr(metrics.counts),
        ]
    )


def require_no_quote(said: str, texts: set[str]) -> None:
    quoted = runs_in(said) & set().union(*map(runs_in, texts)) if texts else set()
    assert not quoted


@given(texts=st.fixed_dictionaries({}, optional=dict.fromkeys(("tenant", "response", "conversation_id"), SECRETS)))
@pytest.mark.parametrize("rules", [WITH_TENANTS, REFUSING])
async def test_no_text_of_an_event_that_is_right_is_logged_whatever_stands_for_its_tenant(
    rules: Policy, texts: dict[str, str]
) -> None:
    with logged() as lines:
        await moderate_encoded(fake_moderator(policy=rules), [encode(**texts)], max_bytes=MAX_BYTES)
    assert bool(lines) == ("tenant" in texts)
    require_no_quote("\n".join(lines), set(texts.values()))


@given(event=EVENTS)
async def test_no_text_of_an_event_is_told_whatever_is_wrong_with_it(event: dict[str, JsonValue]) -> None:
    require_no_quote(await said_of(json.dumps(event).encode()), texts_in(event))


@given(event=EVENTS, data=st.data())
async def test_no_text_of_an_event_is_told_where_its_bytes_are_broken(
    event: dict[str, JsonValue], data: st.DataObject
) -> None:
    value = json.dumps(event).encode()
    at = data.draw(st.integers(0, len(value)))
    damage = data.draw(st.sampled_from([b"", b"\xff", b"NaN", b"\\ud800", b'"', b"}", b",", b"9" * 5_000, b"[" * 300]))
    cut = data.draw(st.booleans())
    require_no_quote(await said_of(value[:at] + damage + (b"" if cut else value[at:])), texts_in(event))


@given(event=EVENTS, secret=SECRETS)
async def test_no_text_of_an_event_is_told_where_a_key_is_there_twice(event: dict[str, JsonValue], secret: str) -> None:
    value = json.dumps({**event, secret: {secret: 1}}).encode()[:-1] + f', "{secret}": 2}}'.encode()
    require_no_quote(await said_of(value), {*texts_in(event), secret})


SECRET = "QVWXZBGJKQVWXZBGJK"


@pytest.mark.parametrize(
    "value",
    [
        encode(schema_version=SECRET),
        encode(occurred_at=SECRET),
        encode(tenant=[SECRET]),
        encode(metadata=SECRET),
        encode(metadata={SECRET: 1})[:-3] + b', "%b": 2}}' % SECRET.encode(),
        encode(response={SECRET: SECRET}),
        encode(messages=SECRET),
        encode(messages=[SECRET]),
        encode(**{SECRET: 1}),
        encode(**{f"{SECRET}{number}": 1 for number in range(2_000)}),
        encode(response=None, messages=[{"role": SECRET, "content": "user"}]),
        SECRET.encode(),
        json.dumps(SECRET).encode(),
        encode()[:-1] + SECRET.encode(),
        encode(response=SECRET)[:-1] + b", NaN}",
    ],
)
async def test_an_event_that_fails_is_told_of_without_a_quote(value: bytes) -> None:
    said = await said_of(value)
    assert said
    require_no_quote(said, {SECRET})
