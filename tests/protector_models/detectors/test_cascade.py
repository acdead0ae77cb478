"""A cascade sends on what its first detector is not sure of, and nothing is settled by a failure."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.detectors.cascade import Alignment, Band, CascadeDetector, common_categories
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.fakes import POISON
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from tests.builders import assessment, exchange, scored_piece, unread
from tests.protector_models.scripted_detector import ScriptedDetector

BAND = Band(low=0.3, high=0.7)
THRESHOLDS = st.floats(0.001, 0.999)
SCORES = st.floats(0.0, 1.0)


def make_cascade(
    first: ScriptedDetector | None = None, second: ScriptedDetector | None = None, *, band: Band = BAND
) -> CascadeDetector:
    return CascadeDetector(first or ScriptedDetector(), second or ScriptedDetector("second"), band=band)


async def judge(cascade: CascadeDetector, one: Exchange) -> Assessment:
    (outcome,) = await cascade.assess([one])
    assert isinstance(outcome, Assessment)
    return outcome


@given(first=THRESHOLDS, second=THRESHOLDS, score=SCORES)
def test_an_aligned_score_stays_in_range_and_on_its_side_of_the_threshold(
    first: float, second: float, score: float
) -> None:
    shifted = Alignment(first_threshold=first, second_threshold=second).shift(score)

    assert 0.0 <= shifted <= 1.0
    assert (shifted >= second) == (score >= first)


@given(first=THRESHOLDS, second=THRESHOLDS, scores=st.tuples(SCORES, SCORES))
def test_aligned_scores_keep_their_order(first: float, second: float, scores: tuple[float, float]) -> None:
    alignment = Alignment(first_threshold=first, second_threshold=second)
    lower, higher = (alignment.shift(score) for score in sorted(scores))

    assert lower <= higher


@given(threshold=THRESHOLDS, score=SCORES)
def test_equal_thresholds_leave_scores_as_they_are(threshold: float, score: float) -> None:
    # Rounded to four decimals, away from the threshold: by at most one step, and the error of the logarithms.
    shifted = Alignment(first_threshold=threshold, second_threshold=threshold).shift(score)
    assert shifted == pytest.approx(score, abs=1.01e-4)


@given(score=SCORES)
def test_a_band_settles_what_lies_outside_of_it(score: float) -> None:
    assert BAND.settles(assessment(score)) == (score < 0.3 or score > 0.7)


@pytest.mark.parametrize(
    "outcome",
    [
        ItemFailure(error="Poison", message="not read"),
        assessment(0.0, characters_unread=1),
        assessment(1.0, images_unread=1),
    ],
)
def test_what_was_not_scored_or_not_read_in_full_is_never_settled(outcome: Assessment | ItemFailure) -> None:
    assert not BAND.settles(outcome)


async def test_only_what_is_uncertain_goes_to_the_second_detector() -> None:
    second = ScriptedDetector("second")
    exchanges = [exchange(f"harm={score}") for score in (0.0, 0.3, 0.5, 0.7, 0.9)]

    outcomes = await make_cascade(second=second).assess(exchanges)

    assert second.assessed == exchanges[1:4]
    judges = [outcome.judged_by for outcome in outcomes if isinstance(outcome, Assessment)]
    assert judges == ["first@1", "second@1", "second@1", "second@1", "first@1"]


async def test_what_the_first_did_not_read_in_full_goes_to_the_second() -> None:
    cascade = make_cascade(ScriptedDetector(max_characters=5), ScriptedDetector("second"))
    judged = await judge(cascade, exchange("harm=0.9"))

    assert judged.judged_by == "second@1"
    assert not judged.truncated


async def test_an_image_that_nobody_read_stays_unread() -> None:
    judged = await judge(make_cascade(), exchange("harm=0.0", images=[unread("FetchTimeout")]))

    assert judged.judged_by == "second@1"
    assert [image.reason for image in judged.coverage.unread_images] == ["FetchTimeout"]


async def test_what_neither_can_score_is_a_failure_and_its_neighbours_are_not() -> None:
    outcomes = await make_cascade().assess([exchange("harm=0.1"), exchange(POISON), exchange("harm=0.9")])

    assert [isinstance(outcome, ItemFailure) for outcome in outcomes] == [False, True, False]


async def test_a_batch_gives_what_its_exchanges_give_alone() -> None:
    cascade = make_cascade(ScriptedDetector(threshold=0.6), ScriptedDetector("second", threshold=0.2))
    exchanges = [exchange(f"harm={number / 20}") for number in range(21)] + [exchange(POISON)]

    alone = [outcome for one in exchanges for outcome in await cascade.assess([one])]
    assert await cascade.assess(exchanges) == alone
    assert await cascade.assess([]) == []


async def test_a_detector_that_is_down_decides_nothing() -> None:
    for position in (0, 1):
        detectors = [ScriptedDetector("first"), ScriptedDetector("second")]
        detectors[position].unavailable = True
        cascade = make_cascade(*detectors)
        with pytest.raises(ModelUnavailableError):
            await cascade.assess([exchange("harm=0.1"), exchange("harm=0.5")])
        with pytest.raises(ModelUnavailableError, match="no result within 3 s"):
            await cascade.check_health(timeout_s=3)


async def test_a_second_detector_that_is_down_is_not_missed_where_it_is_not_needed() -> None:
    second = ScriptedDetector("second")
    second.unavailable = True
    judged = await judge(make_cascade(second=second), exchange("harm=0.9"))
    assert judged.harmfulness == pytest.approx(0.9, abs=1e-4)


async def test_scores_are_on_the_scale_of_the_second() -> None:
    cascade = make_cascade(ScriptedDetector(threshold=0.5), ScriptedDetector("second", threshold=0.2))
    assert cascade.threshold == 0.2

    settled, sent = await judge(cascade, exchange("harm=0.8")), await judge(cascade, exchange("harm=0.5"))
    # Odds of 4 and of 1/4: the shift between thresholds of even odds and of 1/4 gives even odds.
    assert settled.harmfulness == pytest.approx(0.5, abs=1e-4)
    assert sent.harmfulness == 0.5


class PiecedDetector(ScriptedDetector):
    """Judges the first five characters of a response as all of it, and the next five as harmless."""

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        return [
            found.model_copy(
                update={
                    "categories": {"hate": found.harmfulness, "sexual": 0.0},
                    "pieces": (
                        scored_piece(found.harmfulness, end=5, categories={"hate": found.harmfulness, "sexual": 0.0}),
                        scored_piece(0.1, start=5, end=10, categories={"hate": 0.1, "sexual": 0.1}),
                    ),
                }
            )
            for found in await super().assess(exchanges)
            if isinstance(found, Assessment)
        ]


@pytest.mark.parametrize("response", ["harm=0.9", "harm=0.5", "harm=0.1"])
async def test_pieces_are_on_the_scale_of_the_whole_whoever_scored_it(response: str) -> None:
    first = PiecedDetector(threshold=0.5, categories=["hate", "sexual"])
    judged = await judge(
        make_cascade(first, PiecedDetector("second", threshold=0.2, categories=["hate"])), exchange(response)
    )

    assert judged.pieces is not None
    assert judged.pieces[0].harmfulness == judged.harmfulness
    assert judged.pieces[0].categories == judged.categories
    assert [piece.categories.keys() for piece in judged.pieces] == [{"hate"}] * 2
    assert [(piece.start, piece.end) for piece in judged.pieces] == [(0, 5), (5, 10)]


async def test_a_detector_that_names_no_pieces_names_none_in_a_cascade() -> None:
    assert (await judge(make_cascade(), exchange("harm=0.9"))).pieces is None
    assert (
        await judge(make_cascade(PiecedDetector(), ScriptedDetector("second")), exchange("harm=0.5"))
    ).pieces is None


async def test_assessments_name_the_cascade_and_who_scored() -> None:
    cascade = make_cascade()
    inner = await judge(cascade, exchange("harm=0.9"))
    outer = await judge(CascadeDetector(cascade, ScriptedDetector("third"), band=BAND), exchange("harm=0.9"))

    assert inner.detector == cascade.revision
    assert outer.detector != inner.detector
    assert inner.judged_by == outer.judged_by == "first@1"


async def test_categories_are_those_that_both_know() -> None:
    cascade = make_cascade(
        ScriptedDetector(categories=["hate", "sexual"]), ScriptedDetector("second", categories=["hate", "privacy"])
    )
    assert cascade.categories == {"hate"}

    for words in ("harm=0.9 category=hate category=sexual", "harm=0.5 category=hate category=privacy"):
        judged = await judge(cascade, exchange(words))
        assert judged.categories == {"hate": judged.harmfulness}


async def test_a_first_that_settles_only_what_is_safe_leaves_the_categories_to_the_second() -> None:
    cascade = make_cascade(
        ScriptedDetector(), ScriptedDetector("second", categories=["hate"]), band=Band(low=0.3, high=1.0)
    )
    assert cascade.categories == common_categories([], ["hate"], (0.3, 1.0)) == {"hate"}

    assert (await judge(cascade, exchange("harm=1.0 category=hate"))).categories == {"hate": 1.0}
    assert (await judge(cascade, exchange("harm=0.1"))).categories == {"hate": 0.0}


def test_whatever_decides_a_score_is_part_of_the_revision() -> None:
    cascades = [
        make_cascade(),
        make_cascade(band=Band(low=0.2, high=0.7)),
        make_cascade(ScriptedDetector("other")),
        make_cascade(ScriptedDetector(threshold=0.4)),
        make_cascade(second=ScriptedDetector("other")),
        make_cascade(ScriptedDetector(categories=["hate"]), ScriptedDetector("second", categories=["hate"])),
    ]
    assert len({cascade.revision for cascade in cascades}) == len(cascades)
    assert make_cascade().revision == cascades[0].revision


@pytest.mark.parametrize("threshold", [0.1, 0.8, math.nextafter(0.7, 1.0)])
def test_a_band_without_the_firsts_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigurationError, match="expected it to hold the first detector's threshold"):
        make_cascade(ScriptedDetector(threshold=threshold))


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_that_cannot_be_aligned_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigurationError, match="second: its threshold is"):
        make_cascade(second=ScriptedDetector("second", threshold=threshold))


async def test_both_are_warmed_up_and_closed() -> None:
    first, second = ScriptedDetector("first"), ScriptedDetector("second")
    cascade = make_cascade(first, second)
    cascade.warm_up()
    await cascade.close()

    assert first.is_warm
    assert second.is_warm
    assert first.is_closed
    assert second.is_closed
