"""What models put out: scores, assessments that contradict their own coverage, rewrites."""

import pytest
from pydantic import ValidationError

from protector_models.moderation.model_outputs import Assessment, Coverage, Rewrite
from protector_models.moderation.stages import StageStatus
from tests.builders import assessment, scored_piece


@pytest.mark.parametrize("harmfulness", [-0.01, 1.01, float("nan"), float("inf")])
def test_harmfulness_is_a_number_from_0_to_1(harmfulness: float) -> None:
    with pytest.raises(ValidationError):
        assessment(harmfulness)
    with pytest.raises(ValidationError):
        assessment(categories={"hate": harmfulness})


@pytest.mark.parametrize(("evaluated", "truncated"), [(99, False), (100, True)])
def test_an_assessment_cannot_contradict_its_own_coverage(evaluated: int, *, truncated: bool) -> None:
    coverage = Coverage(characters_evaluated=evaluated, characters_total=100, images_evaluated=0, images_total=0)
    with pytest.raises(ValidationError, match="truncated"):
        Assessment(harmfulness=0, categories={}, detector="detector@1", truncated=truncated, coverage=coverage)


@pytest.mark.parametrize(
    ("characters_unread", "images_unread", "status"),
    [(0, 0, StageStatus.COMPLETE), (1, 0, StageStatus.PARTIAL), (0, 1, StageStatus.PARTIAL)],
)
def test_an_assessment_is_complete_only_if_everything_was_read(
    characters_unread: int, images_unread: int, status: StageStatus
) -> None:
    assert assessment(characters_unread=characters_unread, images_unread=images_unread).status() is status


@pytest.mark.parametrize("text", ["", "\ud800"])
def test_a_rewrite_has_text_with_a_utf_8_form(text: str) -> None:
    with pytest.raises(ValidationError):
        Rewrite(text=text, detoxifier="detoxifier@1")


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (0, 0), (5, 5), (6, 5)])
def test_a_piece_has_characters(start: int, end: int) -> None:
    with pytest.raises(ValidationError):
        scored_piece(start=start, end=end)
