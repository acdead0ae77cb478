import pytest

from protector_models.evaluation.behaviours.behaviour_row import HALVES, Half
from protector_models.evaluation.behaviours.composed import alone, dilution, frames, structures
from protector_models.evaluation.behaviours.composed.material import load_material
from protector_models.evaluation.behaviours.scoring import ScoredRow
from protector_models.evaluation.behaviours.shares import retention, share_of
from tests.protector_models.evaluation.behaviours.builders import make_scored

ALONE = "alone/piece"


def in_company(harmfulness: float, number: int = 0, **fields: object) -> ScoredRow:
    return make_scored(harmfulness, row_id=f"frames/{number}", alone=ALONE, **fields)


def test_a_share_is_of_rows_and_its_interval_of_templates() -> None:
    share = share_of(["a"] * 9 + ["b"], [True] * 9 + [False])
    assert (share.n, share.value) == (10, 0.9)
    assert share.interval is not None
    # Drawing b twice has 0, drawing a twice has 1: with two templates nothing is sure.
    assert share.interval == (0.0, 1.0)


def test_where_all_rows_agree_the_interval_is_wilsons_over_templates() -> None:
    share = share_of(["a", "a", "b"], [True, True, True])
    assert share.interval is not None
    assert share.interval[1] == 1.0
    assert share.interval[0] == pytest.approx(1 - 1.96**2 / (2 + 1.96**2))


def test_one_template_alone_has_no_interval_and_no_rows_have_no_share() -> None:
    assert share_of(["a", "a"], [True, False]).interval is None
    empty = share_of([], [])
    assert (empty.n, empty.value, empty.interval) == (0, None, None)


def test_retention_is_of_the_pieces_that_are_flagged_alone() -> None:
    flagged = make_scored(0.9, row_id=ALONE)
    passed = make_scored(0.1, row_id="alone/other")
    company = [in_company(0.9, 0), in_company(0.1, 1), in_company(0.1, 2)]
    of_others = [make_scored(0.9, row_id="frames/3", alone="alone/other"), make_scored(0.0, row_id="everyday/tea")]
    share = retention([flagged, passed, *company, *of_others], threshold=0.5)
    assert share.n == 3
    assert share.value == pytest.approx(1 / 3)
    assert retention([flagged, passed, *company, *of_others], threshold=0.05).n == 4


def test_harmless_retention_is_of_the_pieces_left_alone() -> None:
    rows = [
        make_scored(0.1, row_id=ALONE, wanted="allow"),
        in_company(0.9, 0, wanted="allow"),
        in_company(0.1, 1, wanted="allow"),
    ]
    assert retention(rows, threshold=0.5, wanted="allow").value == 0.5
    assert retention(rows, threshold=0.5).n == 0


def test_a_piece_that_was_not_scored_alone_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected a score of the row 'alone/piece'"):
        retention([in_company(0.9)], threshold=0.5)


@pytest.mark.parametrize("half", HALVES)
def test_a_detector_of_the_worst_sentence_retains_everything_and_one_of_the_mean_does_not(half: Half) -> None:
    material = load_material(half)
    rows = [row for module in (alone, frames, dilution, structures) for row in module.compose(material)]
    harmful = [piece.text.replace("'", "&#x27;") for piece in material.harmful]
    harmful += [piece.text for piece in material.harmful]

    def score(text: str, *, is_mean: bool) -> float:
        found = max((len(piece) for piece in harmful if piece in text), default=0)
        return found / len(text) if is_mean else float(found > 0)

    for is_mean in (False, True):
        scored = [
            ScoredRow(row=row, harmfulness=score(row.response, is_mean=is_mean), category="", is_partly_read=False)
            for row in rows
        ]
        value = retention(scored, threshold=0.5).value
        assert value is not None
        assert (value < 0.5) if is_mean else (value == 1.0)
