import pytest

from protector_models.evaluation.behaviours.behaviour_row import BehaviourKind
from protector_models.evaluation.behaviours.report import BehavioursReport
from protector_models.evaluation.behaviours.scoring import ScoredRow
from protector_models.evaluation.behaviours.summary import excerpt, find_worst, summarise
from tests.protector_models.evaluation.behaviours.builders import make_row, make_scored

ROWS = [
    make_scored(0.9, row_id="sample/a", template="a", facets={"topic": "games"}, category="violence"),
    make_scored(0.8, row_id="sample/b", template="b", facets={"topic": "games"}, category="hate"),
    make_scored(0.2, row_id="sample/c", template="c", facets={"topic": "law"}, wanted="allow"),
    make_scored(0.7, row_id="sample/d", template="d", facets={"topic": "law"}, wanted="allow", pair="p"),
    make_scored(0.1, row_id="sample/e", template="e", facets={}, wanted="allow", pair="p"),
    make_scored(0.9, row_id="sample/f", template="f", facets={}, wanted="act", pair="p"),
]


def report_on(rows: list[ScoredRow], *kinds: BehaviourKind, num_worst: int = 0) -> BehavioursReport:
    all_of_them = kinds or (BehaviourKind(name="sample", about="Sample.", rows=[each.row for each in rows]),)
    return summarise(all_of_them, rows, detector="words@1", threshold=0.5, half="all", num_worst=num_worst)


def test_shares_are_of_all_rows_by_wanted_verdict_by_facet_and_by_category() -> None:
    found = report_on(ROWS).kinds["sample"]
    assert found.n == 6
    assert found.right.value == pytest.approx(5 / 6)
    assert found.by_wanted["act"].value == 1.0
    assert found.by_wanted["allow"].value == pytest.approx(2 / 3)
    assert {value: group.right.value for value, group in found.by["topic"].items()} == {"games": 1.0, "law": 0.5}
    assert set(found.by["category"]) == {"violence", "hate"}
    assert found.auroc == 1.0
    assert found.ece is not None
    assert found.retention is found.harmless_retention is None


def test_a_category_is_named_where_the_detector_puts_it_first() -> None:
    named = report_on(ROWS).kinds["sample"].named
    assert named is not None
    assert (named.n, named.value) == (2, 0.5)


def test_pairs_compare_rows_that_want_the_same_verdict() -> None:
    pairs = report_on(ROWS).kinds["sample"].pairs
    assert pairs is not None
    assert (pairs.n, pairs.split.value) == (1, 1.0)
    assert pairs.widest == {"p (allow)": pytest.approx(0.6)}
    assert pairs.mean_spread == pairs.max_spread == pytest.approx(0.6)


def test_rows_without_a_score_are_counted_and_in_no_figure() -> None:
    kind = BehaviourKind(name="sample", about="Sample.", rows=[each.row for each in ROWS])
    found = report_on(ROWS[:2], kind).kinds["sample"]
    assert (found.n, found.failed, found.right.value) == (2, 4, 1.0)
    empty = report_on([], kind)
    assert (empty.n, empty.mean_right, empty.kinds["sample"].right.value) == (0, None, None)


def test_pieces_without_a_score_alone_are_not_compared() -> None:
    company = [make_scored(0.9, row_id=f"frames/{name}", alone=f"alone/{name}") for name in ("a", "b")]
    by_itself = make_scored(0.9, row_id="alone/a")
    kinds = [
        BehaviourKind(name="alone", about="", rows=[by_itself.row, make_row(row_id="alone/b")]),
        BehaviourKind(name="frames", about="", rows=[each.row for each in company]),
    ]
    found = report_on([by_itself, *company], *kinds).kinds["frames"]
    assert found.retention is not None
    assert (found.retention.n, found.retention.value) == (1, 1.0)


def test_the_mean_is_over_kinds_whatever_their_size() -> None:
    kinds = [
        BehaviourKind(name="large", about="", rows=[each.row for each in ROWS[:3]]),
        BehaviourKind(name="small", about="", rows=[ROWS[3].row]),
    ]
    assert report_on(ROWS[:4], *kinds).mean_right == 0.5


def test_the_worst_rows_are_furthest_on_the_wrong_side() -> None:
    rows = [*ROWS, make_scored(0.05, row_id="sample/g", prompt="Why?")]
    worst = find_worst(rows, threshold=0.5, num_worst=5)
    assert [row.id for row in worst] == ["sample/g", "sample/d"]
    assert (worst[0].prompt, worst[0].text, worst[0].wanted) == ("Why?", "A bad text.", "act")
    assert find_worst(rows, threshold=0.5, num_worst=1) == worst[:1]


def test_of_a_long_answer_the_part_that_matters_is_shown() -> None:
    long_row = make_row(response="begin " * 500 + "THE PIECE" + " end" * 500, focus="THE PIECE")
    shown = excerpt(long_row)
    assert "THE PIECE" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) < 350
    assert excerpt(make_row(response="x" * 1_000)) == "x" * 320 + "…"
    assert excerpt(make_row(response="short")) == "short"
