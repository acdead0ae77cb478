from pathlib import Path

import pytest

from protector_models.evaluation.detector.harness import EvaluatedSet, EvaluationPlan, evaluate_set
from protector_models.evaluation.report import SetReport
from protector_models.records.record_sets import EvaluationSet, read_rows
from tests.protector_models.evaluation.word_detector import LetterRow, WordDetector
from tests.protector_models.training.builders import make_record, write_records

PLAN = EvaluationPlan(threshold=0.5)


def _run(directory: Path, rows: list[dict[str, object]], plan: EvaluationPlan, name: str = "s") -> EvaluatedSet:
    found = EvaluationSet(name=name, files=(write_records(directory / "a.jsonl", rows),))
    counted: list[int] = []
    read = read_rows(found, max_rows=None)
    evaluated = evaluate_set(WordDetector(), read, plan, report_rows=counted.append)
    assert sum(counted) == plan.count_assessments(read)
    return evaluated


def _evaluate(
    directory: Path, rows: list[dict[str, object]], plan: EvaluationPlan = PLAN, name: str = "s"
) -> SetReport:
    return _run(directory, rows, plan, name).report


def test_a_set_is_scored_with_intervals_and_trivial_rows(tmp_path: Path) -> None:
    rows = [make_record(prompt="p", response="bad", label=1)] * 10 + [make_record(prompt="p", response="good")] * 30
    report = _evaluate(tmp_path, rows)
    assert (report.n, report.harmful, report.harmful_share, report.labelled) == (40, 10, 0.25, 40)
    assert (report.failed, report.unlabelled, report.partly_read) == (0, 0, 0)
    assert (report.f1, report.auroc, report.fpr, report.within_prompt) == (1.0, 1.0, 0.0, 1.0)
    assert report.intervals["f1"] == report.intervals["within_prompt"] == (1.0, 1.0)
    assert report.baselines["always harmful"].f1 == pytest.approx(0.4)


def test_rows_without_label_and_failed_rows_are_counted_apart(tmp_path: Path) -> None:
    rows = [
        make_record(response="bad", label=1),
        make_record(response="good"),
        make_record(response="fail", label=1),
        make_record(response="lone \ud800", label=1),
        make_record(response="whatever", label=None),
    ]
    report = _evaluate(tmp_path, rows, EvaluationPlan(threshold=0.5, perturbations=("upper_case", "reversed")))
    assert (report.n, report.failed, report.unlabelled, report.auroc) == (2, 2, 1, 1.0)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_null_where_two_are_needed(tmp_path: Path, label: int) -> None:
    rows = [make_record(prompt="p", response="bad", label=label)] * 3
    report = _evaluate(tmp_path, rows, EvaluationPlan(threshold=0.5, perturbations=("reversed",)))
    assert (report.auroc, report.ece, report.within_prompt) == (None, None, None)
    assert report.intervals["auroc"] is None
    assert (report.fpr is None) == (label == 1)
    assert (report.recall is None) == (label == 0)
    assert report.perturbations["reversed"].delta_auroc is None
    assert report.perturbations["reversed"].delta_fpr == (None if label == 1 else -1.0)


def test_a_set_without_labels_has_no_figures(tmp_path: Path) -> None:
    rows = [make_record(response="bad", label=None)]
    report = _evaluate(tmp_path, rows, EvaluationPlan(threshold=0.5, num_worst=3, perturbations=("reversed",)))
    assert (report.n, report.harmful_share, report.worst) == (0, None, [])
    assert all(value is None for value in report.intervals.values())


def test_learned_rows_stand_beside_the_trivial_ones_with_f1_where_they_have_a_threshold(tmp_path: Path) -> None:
    rows = [make_record(response="bad bob", label=1), make_record(response="bad"), make_record(response="good")]
    figures = [
        _evaluate(tmp_path, rows, EvaluationPlan(threshold=0.5, baselines=[LetterRow(threshold)])).baselines
        for threshold in (2.0, None)
    ]
    assert [(found["letters b"].f1, found["letters b"].auroc) for found in figures] == [(1.0, 1.0), (None, 1.0)]


def test_published_guards_stand_beside_their_sets_only(tmp_path: Path) -> None:
    rows = [make_record(response="bad", label=1)]
    published = {guard.model: guard.f1 for guard in _evaluate(tmp_path, rows, name="xstest_response").published}
    assert published["LibrAI LongFormer"] == 0.709
    assert _evaluate(tmp_path, rows, name="another").published == []


def test_the_worst_errors_are_listed_by_id_and_score(tmp_path: Path) -> None:
    rows = [
        make_record(id="missed", response="harmless", label=1),
        make_record(id="right", response="bad", label=1),
        make_record(id="lone \ud800", response="bad", label=0),
    ]
    plan = EvaluationPlan(threshold=0.5, num_worst=5)
    worst = [(error.id, error.label, error.score) for error in _evaluate(tmp_path, rows, plan).worst]
    assert worst == [("lone \\ud800", 0, 0.9), ("missed", 1, 0.1)]
    assert len(_evaluate(tmp_path, rows, EvaluationPlan(threshold=0.5, num_worst=1)).worst) == 1


def test_a_perturbation_is_measured_on_the_judged_text_against_the_same_rows(tmp_path: Path) -> None:
    rows = [make_record(prompt="bad", response="bad", label=1), make_record(prompt="bad", response="good")]
    plan = EvaluationPlan(threshold=0.5, perturbations=("upper_case", "fullwidth"))
    report = _evaluate(tmp_path, rows, plan)
    assert list(report.perturbations) == ["upper_case", "fullwidth"]
    upper, fullwidth = report.perturbations.values()
    assert (report.auroc, upper.auroc, upper.delta_auroc, upper.delta_f1) == (1.0, 0.5, -0.5, -1.0)
    assert (upper.partly_read, fullwidth.partly_read) == (0, 2)


def test_rows_that_fail_only_when_perturbed_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = [make_record(response="liaf bad", label=1), make_record(response="bad", label=1), make_record(response="ok")]
    found = _evaluate(tmp_path, rows, EvaluationPlan(threshold=0.5, perturbations=("reversed",))).perturbations
    assert (found["reversed"].failed, found["reversed"].auroc, found["reversed"].delta_auroc) == (1, 0.5, -0.5)


def test_categories_are_reported_where_the_set_names_them(tmp_path: Path) -> None:
    rows = [
        make_record(text="bad violent deed", label=1, category="V,V2"),
        make_record(text="bad", label=1, category="S"),
        make_record(text="good", label=0),
    ]
    report = _evaluate(tmp_path, rows, EvaluationPlan(threshold=0.5, baselines=[LetterRow(None)])).categories
    assert report is not None
    assert {label: (of_label.n, of_label.auroc) for label, of_label in report.per.items()} == {
        "sexual": (1, 0.5),
        "violence": (1, 1.0),
        "violence/graphic": (1, 1.0),
    }
    assert report.baselines == {"letters b": pytest.approx((0.75 * 3) / 3)}
    assert _evaluate(tmp_path, [make_record(response="bad", label=1, category="Fraud")]).categories is None


def test_a_megabyte_of_text_and_strange_scripts_are_rows_like_others(tmp_path: Path) -> None:
    rows = [
        make_record(response="bad " * 250_000, label=1),
        make_record(response="\x00\x07 злой 悪い \U0001f600", label=0),
        make_record(prompt="p", response="", label=0),
    ]
    report = _evaluate(tmp_path, rows, EvaluationPlan(threshold=0.5, perturbations=("fullwidth", "base64")))
    assert (report.n, report.f1, report.partly_read) == (3, 1.0, 1)
    assert report.perturbations["fullwidth"].partly_read == 2
