"""Conversations as SDKs dump them: each is read as it was meant, and moderated.

The files beside this one are written here, field by field as those libraries write them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from protector_models.moderation.fakes import RecordedMetrics
from protector_models.moderation.verdict import Action, ModeratedConversation
from protector_models.moderation.wire.codec import decode
from protector_models.moderation.wire.encoded import EncodedVerdict, moderate_encoded
from tests.wire import MAX_BYTES, fake_moderator

DUMPS = Path(__file__).parent / "sdk_dumps"
PIXEL = "data:image/png;base64,"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """What is in a dump."""

    name: str
    prompt: str
    response: str
    images: Sequence[str] = ()
    """How each reference begins."""
    unread: Sequence[tuple[int, str]] = ()
    ignored: int


OPENAI_PYTHON = Dump(
    name="openai_python",
    prompt="When does the ferry leave?",
    response="It leaves at nine in the evening.",
    images=["https://example.org/pier.png"],
    unread=[(1, "audio"), (1, "file")],
    ignored=2,
)
OPENAI_RESPONSES = Dump(
    name="openai_responses",
    prompt="May I moor at pier two tonight?",
    response="Yes, three berths are free.\nI cannot name their neighbours.\nreserve\nhold berth seven\n"
    "web_search_call\ntide tonight\nsearch",
    images=["https://example.org/boat.png"],
    ignored=14,
)
LITELLM = Dump(
    name="litellm",
    prompt="And is there a bench?",
    response="timetable\nharbour\nlast ferry at nine",
    images=["https://example.org/map.png"],
    ignored=6,
)
VLLM = Dump(name="vllm", prompt="And tomorrow?", response="About the same.", unread=[(2, "video")], ignored=5)
ANTHROPIC = Dump(
    name="anthropic",
    prompt="What does the sign say?",
    response="It says that nobody may swim here.",
    images=[PIXEL, "https://example.org/sign.jpg", PIXEL],
    unread=[(0, "document")],
    ignored=8,
)
GEMINI = Dump(
    name="gemini",
    prompt="Describe the picture.",
    response="It is a single pixel.",
    images=[PIXEL],
    unread=[(0, "audio")],
    ignored=2,
)
LANGCHAIN = Dump(
    name="langchain", prompt="And who keeps it?", response="The town does, since 1902.", images=[PIXEL], ignored=16
)
SHAREGPT = Dump(name="sharegpt", prompt="At low tide, too?", response="Then it has seven metres.", ignored=1)

ALL = [OPENAI_PYTHON, OPENAI_RESPONSES, LITELLM, VLLM, ANTHROPIC, GEMINI, LANGCHAIN, SHAREGPT]


def test_every_dump_is_looked_at() -> None:
    assert sorted(path.stem for path in DUMPS.glob("*.json")) == sorted(dump.name for dump in ALL)


@pytest.mark.parametrize("dump", ALL, ids=lambda dump: dump.name)
def test_a_dump_is_read_as_it_was_meant(dump: Dump) -> None:
    decoded = decode((DUMPS / f"{dump.name}.json").read_bytes(), max_bytes=MAX_BYTES)
    assert decoded.event.response is not None
    exchange = decoded.event.exchange(decoded.event.response)
    assert (exchange.prompt, exchange.response) == (dump.prompt, dump.response)
    references = decoded.event.image_references()
    assert len(references) == len(dump.images)
    assert all(found.startswith(begin) for found, begin in zip(references, dump.images, strict=True))
    assert [(part.position, part.kind) for part in exchange.unread_parts] == list(dump.unread)
    assert decoded.ignored == dump.ignored


@pytest.mark.parametrize("dump", ALL, ids=lambda dump: dump.name)
async def test_a_dump_is_moderated(dump: Dump) -> None:
    metrics = RecordedMetrics()
    value = (DUMPS / f"{dump.name}.json").read_bytes()
    (result,) = await moderate_encoded(fake_moderator(), [value], max_bytes=MAX_BYTES, metrics=metrics)
    assert isinstance(result, EncodedVerdict)
    moderated = ModeratedConversation.model_validate_json(result.value)
    assert moderated.assessment is not None
    coverage = moderated.assessment.coverage
    assert [(part.position, part.kind) for part in coverage.unread_parts] == list(dump.unread)
    assert coverage.unread_parts_total == len(dump.unread)
    # Nothing reads images here.
    assert coverage.is_complete() is not bool(dump.unread or dump.images)
    assert moderated.action is (Action.REVIEW if dump.unread or dump.images else Action.ALLOW)
    assert metrics.total("weir_message_fields_ignored_total") == dump.ignored
