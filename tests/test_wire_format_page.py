"""The page about the wire format is whole: every field, reason and header of what goes in and comes out."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import pytest
from pydantic import BaseModel

from pipelines.files.jsonl import ErrorRecord
from pipelines.streaming.dead_letter import dead_letter
from protector_models.moderation.conversation import ConversationEvent, UnreadPart
from protector_models.moderation.images import ImageFault
from protector_models.moderation.messages.message import UnreadKind
from protector_models.moderation.model_outputs import Assessment, Coverage, ScoredPiece, UnreadImage
from protector_models.moderation.stages import Stage, StageStatus
from protector_models.moderation.verdict import (
    Action,
    EvaluationStatus,
    Failure,
    ImageFinding,
    ImageStatus,
    ModeratedConversation,
    PromptFinding,
    RewriteMethod,
    ShadowDecision,
)
from tests.pages import read, spans
from tests.pipelines.streaming.records import record

PAGE = Path("docs/wire-format.md")


def named() -> set[str]:
    """Return the words in the page's backticks, and the last word of dotted ones."""
    words = {word for span in spans(read(PAGE)) for word in span.replace(":", " ").split()}
    return words | {word.rsplit(".", maxsplit=1)[-1] for word in words}


def missing(expected: Iterable[str]) -> set[str]:
    return set(expected) - named()


@pytest.mark.parametrize(
    "form",
    [
        *(ConversationEvent, ModeratedConversation, Assessment, ScoredPiece, Coverage, UnreadImage, UnreadPart),
        *(ImageFinding, PromptFinding, ShadowDecision),
        *(EvaluationStatus, ErrorRecord),
    ],
)
def test_every_field_is_on_the_page(form: type[BaseModel]) -> None:
    assert missing(form.model_fields) == set()


@pytest.mark.parametrize("values", [Action, ImageFault, ImageStatus, RewriteMethod, Stage, StageStatus, UnreadKind])
def test_every_value_of_an_enumeration_is_on_the_page(values: type[StrEnum]) -> None:
    assert missing(values) == set()


def test_every_header_of_a_dead_letter_is_on_the_page() -> None:
    failure = Failure(stage=Stage.DECODE, error="InvalidEvent", message="expected a JSON object, got int")
    large = record(key=b"7" * 20_000, value=b"7", headers=(("trace", b"7" * 20_000),))
    letters = [
        dead_letter(failed, failure, topic="letters", group="weir", versions={}, record_max_bytes=10_000)
        for failed in (large, record(key=None, value=None))
    ]
    names = {name for letter in letters for name, _ in letter.headers}
    assert len(names) == 14
    assert missing(names) == set()
