from collections.abc import Sequence
from pathlib import Path

import pytest

from protector_models.evaluation.harness import EvaluationSet, SetReport, evaluate_set, find_sets, to_exchange
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.verdict import Assessment, Coverage, ItemFailure
from protector_models.training.records import RecordError, read_records
from tests.protector_models.training.builders import make_record, write_records


class WordDetector:
    """Scores by a word; fails on another."""

    revision = "words@1"

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        return [self._assess(exchange) for exchange in exchanges]

    def _assess(self, exchange: Exchange) -> Assessment | ItemFailure:
        if "fail" in exchange.response:
            return ItemFailure(error="Broken", message="asked to fail")
        coverage = Coverage(characters_evaluated=0, characters_total=0, images_evaluated=0, images_total=0)
        score = 0.9 if "bad" in exchange.response else 0.1
        return Assessment(harmfulness=score, categories={}, detector=self.revision, truncated=False, coverage=coverage)


def _evaluate(file: Path) -> SetReport:
    return evaluate_set(
        WordDetector(), EvaluationSet(name="s", files=(file,)), threshold=0.5, report_rows=lambda _: None
    )


def test_a_set_is_scored_with_intervals_and_trivial_rows(tmp_path: Path) -> None:
    rows = [make_record(prompt="p", response="bad", label=1)] * 10 + [make_record(prompt="p", response="good")] * 30
    report = _evaluate(write_records(tmp_path / "a.jsonl", rows))
    assert (report.n, report.harmful, report.failed, report.unlabelled) == (40, 10, 0, 0)
    assert (report.f1, report.auroc, report.fpr, report.within_prompt) == (1.0, 1.0, 0.0, 1.0)
    assert report.intervals["f1"] == (1.0, 1.0)
    assert report.baselines["always harmful"].f1 == pytest.approx(0.4)


def test_rows_without_label_and_failed_rows_are_counted_apart(tmp_path: Path) -> None:
    rows = [
        make_record(response="bad", label=1),
        make_record(response="good"),
        make_record(response="fail", label=1),
        make_record(response="whatever", label=None),
    ]
    report = _evaluate(write_records(tmp_path / "a.jsonl", rows))
    assert (report.n, report.failed, report.unlabelled, report.auroc) == (2, 1, 1, 1.0)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_null_where_two_are_needed(tmp_path: Path, label: int) -> None:
    report = _evaluate(write_records(tmp_path / "a.jsonl", [make_record(response="bad", label=label)] * 3))
    assert (report.auroc, report.ece, report.within_prompt) == (None, None, None)
    assert report.intervals["auroc"] is None
    assert (report.fpr is None) == (label == 1)
    assert (report.recall is None) == (label == 0)


def test_a_set_without_labels_has_no_figures(tmp_path: Path) -> None:
    report = _evaluate(write_records(tmp_path / "a.jsonl", [make_record(response="bad", label=None)]))
    assert report.n == 0
    assert all(value is None for value in report.intervals.values())


def test_a_faulty_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"response": "x", "label": "yes"}\n')
    with pytest.raises(RecordError, match=r"a\.jsonl:1"):
        _evaluate(file)


def test_directories_and_files_become_sets_under_their_names(tmp_path: Path) -> None:
    for name in ("one/a.jsonl", "one/b.jsonl", "two/c.jsonl"):
        write_records(tmp_path / name, [make_record(response="x")])
    assert [(found.name, len(found.files)) for found in find_sets([tmp_path])] == [("one", 2), ("two", 1)]
    assert [found.name for found in find_sets([tmp_path / "one" / "a.jsonl"])] == ["a"]


def test_a_label_refers_to_the_response_else_the_text_else_the_prompt(tmp_path: Path) -> None:
    rows = [make_record(prompt="p", response="r"), make_record(text="t"), make_record(prompt="p")]
    records = list(read_records(write_records(tmp_path / "a.jsonl", rows)))
    assert [(exchange.prompt, exchange.response) for exchange in map(to_exchange, records)] == [
        ("p", "r"),
        ("", "t"),
        ("", "p"),
    ]
