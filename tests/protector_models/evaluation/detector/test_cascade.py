from itertools import count
from pathlib import Path

import pytest

from protector_models.detectors.cascade import Band, CascadeDetector
from protector_models.evaluation.detector.cascade import CascadeSetReport, assess_twice, evaluate_cascade
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import POISON
from protector_models.records.record_sets import EvaluationSet, read_rows
from tests.builders import exchange
from tests.protector_models.scripted_detector import ScriptedDetector
from tests.protector_models.training.builders import make_record, write_records

BAND = Band(low=0.3, high=0.7)


async def evaluate(directory: Path, rows: list[dict[str, object]]) -> CascadeSetReport:
    """Evaluates scripted detectors of different thresholds; every reading of the clock is a second after the last."""
    read = read_rows(EvaluationSet(name="s", files=(write_records(directory / "a.jsonl", rows),)), max_rows=None)
    first, second = ScriptedDetector(threshold=0.5), ScriptedDetector("second", threshold=0.4)
    cascade = CascadeDetector(first, second, band=BAND)
    counted: list[int] = []
    seconds = count()
    report = await evaluate_cascade(
        cascade, first, second, read, clock=lambda: float(next(seconds)), report_rows=counted.append
    )
    assert sum(counted) == len(read.labelled)
    return report


async def test_the_cascade_stands_beside_either_alone(tmp_path: Path) -> None:
    rows = [
        make_record(response="harm=0.9", label=1),
        make_record(response="harm=0.45", label=1),
        make_record(response="harm=0.1", label=0),
        make_record(response="harm=0.2", label=0),
    ]
    report = await evaluate(tmp_path, rows)

    assert (report.n, report.harmful, report.failed, report.share_sent_on) == (4, 2, 0, 0.25)
    assert {name: row.f1 for name, row in report.rows.items()} == {
        "cascade": 1.0,
        "first": pytest.approx(2 / 3),
        "second": 1.0,
    }
    assert {row.auroc for row in report.rows.values()} == {1.0}
    # One call of a second over four texts.
    assert {row.ms_per_text for row in report.rows.values()} == {250.0}
    assert report.losses == {"auroc": 0.0, "f1": 0.0, "tpr_at_1pct_fpr": 0.0, "fpr": 0.0}
    assert report.loss_intervals["f1"] == (0.0, 0.0)


async def test_rows_without_a_score_are_counted_apart(tmp_path: Path) -> None:
    rows = [
        make_record(response="harm=0.9", label=1),
        make_record(response="harm=0.1", label=0),
        make_record(response=POISON, label=1),
        make_record(response="lone \ud800", label=1),
        make_record(response="harm=0.5", label=None),
    ]
    report = await evaluate(tmp_path, rows)
    assert (report.n, report.failed, report.harmful) == (2, 2, 1)


async def test_a_set_without_harmful_rows_has_the_share_flagged_alone(tmp_path: Path) -> None:
    rows = [make_record(response=f"harm={score}", label=0) for score in (0.1, 0.45, 0.6, 0.9)]
    report = await evaluate(tmp_path, rows)
    cascade = report.rows["cascade"]
    assert (cascade.auroc, cascade.f1, cascade.tpr_at_1pct_fpr, cascade.fpr) == (None, None, None, 0.75)
    assert (report.losses["auroc"], report.losses["fpr"], report.loss_intervals["auroc"]) == (None, 0.0, None)


async def test_a_set_without_rows_has_no_figures(tmp_path: Path) -> None:
    report = await evaluate(tmp_path, [make_record(response="harm=0.5", label=None)])
    assert (report.n, report.share_sent_on, report.rows["first"].ms_per_text) == (0, None, None)


async def test_both_are_asked_about_the_same_and_what_the_second_cannot_score_is_left_out() -> None:
    first, second = ScriptedDetector(max_characters=30), ScriptedDetector("second")
    exchanges = [exchange(f"harm={number % 10 / 10}") for number in range(130)] + [exchange(POISON)]
    counted: list[int] = []
    found = await assess_twice(
        first, second, exchanges, [number % 2 == 0 for number in range(131)], report_rows=counted.append
    )
    assert counted == [64, 64, 3]
    assert len(found.labels) == len(found.first) == len(found.second) == 130
    assert list(found.labels) == [number % 2 == 0 for number in range(130)]
    assert [outcome.harmfulness for outcome in found.second] == [number % 10 / 10 for number in range(130)]


async def test_a_detector_that_is_down_ends_the_evaluation() -> None:
    second = ScriptedDetector("second")
    second.unavailable = True
    with pytest.raises(ModelUnavailableError):
        await assess_twice(ScriptedDetector(), second, [exchange()], [True], report_rows=lambda num: None)
