import numpy as np
import pytest

from protector_models.checkpoints.cards import CheckpointCard
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS
from protector_models.evaluation.detector.categories import (
    OPENAI_CATEGORIES,
    OWN_CATEGORIES,
    parse_labels,
    report_categories,
)
from protector_models.evaluation.report import CategoryReport


@pytest.mark.parametrize(
    ("field", "labels"),
    [
        ("S,S3", {"sexual", "sexual/minors"}),
        ("H2, V2", {"hate/threatening", "violence/graphic"}),
        ("self-harm/intent", {"self-harm/intent"}),
        ("self_harm_intent,Illicit", {"self-harm/intent", "illicit"}),
        ("unsafe_advice", {"unsafe_advice"}),
    ],
)
def test_labels_are_read_as_openai_writes_them_or_abbreviates_them(field: str, labels: set[str]) -> None:
    assert parse_labels(field) == frozenset(labels)


@pytest.mark.parametrize("field", ["", "Fraud/Deception", "S,Fraud", "S,"])
def test_other_fields_are_no_labels(field: str) -> None:
    assert parse_labels(field) is None


def test_every_category_of_the_shipped_detector_is_read_for_a_label() -> None:
    read = {ours for names in OPENAI_CATEGORIES.values() for ours in names} | set(OWN_CATEGORIES)
    assert set(CheckpointCard.load(SHIPPED_WEIGHTS).categories) <= read
    assert len(OPENAI_CATEGORIES) == 13


def _report(fields: list[str], labels: list[int], **scores: list[float]) -> CategoryReport | None:
    rows = [dict(zip(scores, row, strict=True)) for row in zip(*scores.values(), strict=True)]
    return report_categories(fields, np.array(labels, dtype=np.bool_), rows, {})


def test_rows_of_a_label_are_ranked_against_all_others() -> None:
    report = _report(["S", "V", "", "S"], [1, 1, 0, 0], sexual=[0.9, 0.1, 0.0, 0.2], violence=[0.8, 0.5, 0.1, 0.1])
    assert report is not None
    # The last row is safe: its field names what it was looked at for, and it is no member.
    assert {label: (found.n, found.auroc) for label, found in report.per.items()} == {
        "sexual": (1, 1.0),
        "violence": (1, pytest.approx(2 / 3)),
    }
    assert report.macro_auroc == pytest.approx((1 + 2 / 3) / 2)


def test_a_label_without_a_score_has_no_auroc_and_is_not_in_the_mean() -> None:
    report = _report(["V", "self-harm", ""], [1, 1, 0], violence=[0.8, 0.1, 0.1])
    assert report is not None
    assert (report.per["self-harm"].auroc, report.per["self-harm"].read_as) == (None, None)
    assert report.macro_auroc == 1.0


def test_a_narrower_score_is_read_where_there_is_one() -> None:
    wide = _report(["S3", ""], [1, 0], sexual=[0.8, 0.1])
    narrow = _report(["S3", ""], [1, 0], sexual=[0.8, 0.1], sexual_minors=[0.1, 0.2])
    assert wide is not None
    assert narrow is not None
    assert [report.per["sexual/minors"].read_as for report in (wide, narrow)] == ["sexual", "sexual_minors"]


@pytest.mark.parametrize("labels", [[0, 0], [1, 1]])
def test_one_class_has_no_macro(labels: list[int]) -> None:
    report = _report(["S", "S"], labels, sexual=[0.1, 0.2])
    assert report is None or (report.macro_auroc, report.macro_interval) == (None, None)


def test_learned_rows_are_averaged_over_the_same_labels() -> None:
    fields, labels = ["S", "V", ""], np.array([True, True, False])
    own = [{"sexual": 0.9}, {"sexual": 0.1}, {"sexual": 0.1}]
    learned = [{"sexual": 0.1, "violence": 0.9}, {"sexual": 0.5, "violence": 0.9}, {"sexual": 0.0, "violence": 0.0}]
    report = report_categories(fields, labels, own, {"row": learned})
    assert report is not None
    assert (report.macro_auroc, report.baselines["row"]) == (1.0, 0.5)
