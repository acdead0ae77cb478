"""Bad input through the Moderator that ships: each is moderated or an error record, never silently allowed."""

import asyncio
from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry
from pydantic import JsonValue

from pipelines.files.jsonl import ErrorRecord, Line, output_line
from pipelines.settings import WeirSettings
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import Action, ModeratedConversation
from protector_models.moderation.wire.encoded import EncodedVerdict, FailedValue, moderate_encoded
from services.counters.process_counters import PrometheusMetrics
from services.moderators import in_process_moderator
from services.policies_in_force import load_policy_in_force
from tests.wire import encode

pytestmark = pytest.mark.shipped

LONG = "How do I get a stain out of a carpet? " * 130_000
assert len(LONG) > 4_900_000
ARABIC = "كيف أصل إلى البيت؟ \u202eهذا نص\u202c"
EMOJI = "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 🔥 "


def with_metadata(raw: bytes) -> bytes:
    """Write an event whose metadata is raw JSON."""
    return encode(event_id="metadata").replace(b'"metadata": {}', b'"metadata": ' + raw)


def with_image(url: JsonValue, **more: JsonValue) -> bytes:
    picture: JsonValue = {"type": "image_url", "image_url": {"url": url, **more}}
    content: JsonValue = [{"type": "text", "text": "What is this?"}, picture]
    return encode(messages=[{"role": "user", "content": content}])


def with_messages(*messages: JsonValue) -> bytes:
    return encode(messages=list(messages))


NO_EVENTS: Mapping[str, bytes | None] = {
    "no value": None,
    "nothing": b"",
    "text": b"ping",
    "csv": b"event_id,conversation_id,prompt,response",
    "half an object": encode()[:60],
    "two objects": encode() + encode(),
    "not utf-8": encode(response="caf\u00e9").replace(b"\\u00e9", b"\xe9"),
    "utf-16": encode().decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + encode(),
    "NUL between": encode() + b"\x00",
    "raw NUL in a string": encode(response="a\x00b").replace(b"\\u0000", b"\x00"),
    "null": b"null",
    "number": b"1",
    "NaN": b"NaN",
    "number too large in metadata": with_metadata(b'{"a": [1e999]}'),
    "string": b'"event"',
    "array": b"[" + encode() + b"]",
    "empty object": b"{}",
    "schema_version 2": encode(schema_version=2),
    "schema_version as text": encode(schema_version="1"),
    "schema_version NaN": encode().replace(b'"schema_version": 1', b'"schema_version": NaN'),
    "schema_version huge": encode(schema_version=10**400),
    "no schema_version": encode("schema_version"),
    "no event_id": encode("event_id"),
    "empty event_id": encode(event_id=""),
    "event_id as number": encode(event_id=5),
    "long event_id": encode(event_id="e" * 600),
    "no conversation_id": encode("conversation_id"),
    "no occurred_at": encode("occurred_at"),
    "occurred_at without offset": encode(occurred_at="2026-01-31T12:00:00"),
    "occurred_at impossible": encode(occurred_at="2026-02-30T12:00:00Z"),
    "no messages": encode("messages"),
    "messages as text": encode(messages="hi"),
    "message as text": encode(messages=["hi"]),
    "response as object": encode(response={"answer_id": 5}),
    "response as number": encode(response=5),
    "unknown key": encode(answer="hi"),
    "metadata as list": encode(metadata=[]),
    "lone surrogate": encode(response="x").replace(b'"x"', b'"\\ud83d"'),
    "lone trailing surrogate": encode(response="x").replace(b'"x"', b'"\\udc00 x"'),
    "surrogate in a key": with_metadata(b'{"\\ud83d": 1}'),
    "surrogate in metadata": with_metadata(b'{"a": "\\ud83d"}'),
    "nested deeply": with_metadata(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "only brackets": b"[" * 1_000_000,
    "huge integer in metadata": with_metadata(b'{"a": ' + b"9" * 100_000 + b"}"),
    "NaN in metadata": with_metadata(b'{"a": [NaN]}'),
    "infinity in metadata": with_metadata(b'{"a": [-Infinity]}'),
    "duplicate keys": encode(response="first")[:-1] + b', "response": "last"}',
    "duplicate keys in metadata": with_metadata(b'{"a": 1, "\\u0061": 1}'),
    "too large": b" " * 16_000_001 + encode(),
    "very many faults": encode(messages=[0] * 100_000),
}
"""Bytes that are no event."""

READ_COMPLETELY: Mapping[str, bytes] = {
    "empty response": encode(response=""),
    "blank response": encode(response=" \n\t "),
    "1,000 messages": encode(messages=[{"role": "user", "content": f"message {number}"} for number in range(1_000)]),
    "message without content": with_messages({"role": "user"}),
    "only system messages": with_messages({"role": "system", "content": "Be kind."}),
    "no messages at all": encode(messages=[]),
    "unknown role": with_messages({"role": "customer", "content": "hi"}),
    "metadata null": encode(metadata=None),
    "response as object with a text": encode(response={"text": "hi"}),
    "response as message": encode(response={"role": "assistant", "content": "Take the bus.", "audio": None}),
    "tool calls of every shape": with_messages(
        {"role": "assistant", "tool_calls": [None, 1, "a", {"b": [True]}], "function_call": 5},
        {"role": "tool", "content": "ok", "tool_call_id": "1"},
        {"role": "user", "content": "and now?"},
    ),
    "escaped NUL": encode(response="a\x00b", messages=[{"role": "user", "content": "\x00"}]),
    "control characters": encode(response="".join(map(chr, range(32))) + "\x7f\x85\u2028\ufeff\ufffe\uffff"),
    "mathematical letters": encode(response="fine 𝐛𝐚𝐝"),
    "emoji": encode(response=EMOJI, messages=[{"role": "user", "content": EMOJI}]),
    "surrogate pair": encode(response="x").replace(b'"x"', b'"\\ud83d\\ude00"'),
    "metadata of every type": with_metadata(b'{"a": null, "b": true, "c": 1, "d": 0.5, "e": "", "f": [], "g": {}}'),
    "integer of 4,000 digits in metadata": with_metadata(b'{"a": ' + b"9" * 4_000 + b"}"),
    "a hundred brackets in metadata": with_metadata(b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}"),
    "unknown tenant": encode(tenant="nobody"),
    "newlines in ids": encode(event_id="a\nb", conversation_id="\u2028"),
    "one word of 1,000 characters": encode(response="x" * 1_000),
}
"""Strange events of which everything can be read."""

NOT_READ_COMPLETELY: Mapping[str, bytes] = {
    "5 MB of response": encode(response=LONG),
    "5 MB of prompt": encode(messages=[{"role": "user", "content": LONG}]),
    "tag characters": encode(response="fine \U000e0062\U000e0061\U000e0064"),
    "right to left": encode(response=ARABIC, messages=[{"role": "user", "content": ARABIC}]),
    "5 MB without a space": encode(response="x" * 5_000_000),
    "content as number": with_messages({"role": "user", "content": 7}),
    "unknown part": with_messages({"role": "user", "content": [{"type": "sound", "url": "x"}]}),
    "part without text": with_messages({"role": "user", "content": [{"type": "text"}]}),
    "empty image url": with_image(""),
    "image url as number": with_image(5),
    "image without url": with_messages({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
    "unread part of a response": encode(response=["Listen!", {"type": "audio"}]),
    "image that is no url": with_image("not a url"),
    "image of a local file": with_image("file:///etc/passwd"),
    "image in a broken data url": with_image("data:image/png;base64,%%%", detail="high"),
    "image that is not there": with_image("https://127.0.0.1:1/none.png"),
    "image url with NUL": with_image("\x00"),
}
"""Events of which the detector does not see everything: what is unread must not be allowed."""

Result = EncodedVerdict | FailedValue


@pytest.fixture(scope="module")
def results() -> Mapping[str, Result]:
    """The result of each case, all of them moderated in one batch."""
    cases = {**NO_EVENTS, **READ_COMPLETELY, **NOT_READ_COMPLETELY}

    async def moderate() -> list[Result]:
        settings = WeirSettings()
        metrics = PrometheusMetrics(CollectorRegistry())
        cache = MemoryVerdictCache(max_entries=0)
        async with in_process_moderator(settings, load_policy_in_force(settings), metrics, cache) as moderator:
            return await moderate_encoded(moderator, list(cases.values()), max_bytes=settings.stream.event_max_bytes)

    return dict(zip(cases, asyncio.run(moderate()), strict=True))


def moderated(result: Result) -> ModeratedConversation:
    assert isinstance(result, EncodedVerdict)
    return ModeratedConversation.model_validate_json(result.value)


@pytest.mark.parametrize("name", NO_EVENTS)
def test_what_is_no_event_becomes_an_error_record(name: str, results: Mapping[str, Result]) -> None:
    result = results[name]
    assert isinstance(result, FailedValue)
    record = ErrorRecord.model_validate_json(output_line(Line(number=7, content=b""), result))
    assert (record.line, record.error.error) == (7, "InvalidEvent")
    assert record.event_id == result.event_id
    assert record.event_id in {None, "event-1", "metadata"}
    assert len(record.error.message) < 600


@pytest.mark.parametrize("name", READ_COMPLETELY)
def test_a_strange_event_is_moderated_and_read_completely(name: str, results: Mapping[str, Result]) -> None:
    verdict = moderated(results[name])
    assert verdict.assessment is not None
    assert verdict.assessment.coverage.is_complete()
    assert verdict.evaluation_status.assessment is StageStatus.COMPLETE


@pytest.mark.parametrize("name", NOT_READ_COMPLETELY)
def test_what_is_not_read_completely_says_so_and_is_not_allowed(name: str, results: Mapping[str, Result]) -> None:
    verdict = moderated(results[name])
    assert verdict.assessment is not None
    assert not verdict.assessment.coverage.is_complete()
    assert verdict.evaluation_status.assessment is StageStatus.PARTIAL
    assert verdict.action is not Action.ALLOW


def test_nothing_is_allowed_without_a_complete_evaluation(results: Mapping[str, Result]) -> None:
    allowed = [
        moderated(result)
        for result in results.values()
        if isinstance(result, EncodedVerdict) and result.action is Action.ALLOW
    ]
    assert allowed
    for verdict in allowed:
        assert verdict.evaluation_status.assessment is StageStatus.COMPLETE
        assert verdict.assessment is not None
        assert not verdict.assessment.truncated


@pytest.mark.parametrize(
    "name", ["mathematical letters", "emoji", "escaped NUL", "control characters", "surrogate pair"]
)
def test_an_allowed_response_is_delivered_unchanged(name: str, results: Mapping[str, Result]) -> None:
    event = results[name].event
    verdict = moderated(results[name])
    assert event is not None
    assert verdict.action is not Action.ALLOW or verdict.response == event.response
