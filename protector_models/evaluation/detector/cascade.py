"""Evaluates a cascade against either of its detectors alone, in the same run: quality, share sent on, time per text.

Shapes: N rows of one set that all three have a score for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from protector_models.detectors.cascade import CascadeDetector
from protector_models.detectors.loaded_detector import LoadedDetector
from protector_models.evaluation import metrics
from protector_models.evaluation.detector.band_choice import Outcomes
from protector_models.evaluation.metrics import Estimate, Labels, Scores
from protector_models.evaluation.report import Figures, Span
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.records.record_sets import EvaluationRows, to_exchange

_BATCH_SIZE = 64
_NUM_RESAMPLES = 200
_SEED = 0

Reports = Callable[[int], None]
"""Called with the number of rows done since the last call."""


class DetectorRow(Figures):
    """Figures of one detector on one set, at its own threshold; None where the set cannot give one."""

    auroc: float | None
    f1: float | None
    tpr_at_1pct_fpr: float | None
    fpr: float | None
    intervals: dict[str, Span | None]
    """95% bootstrap interval of each."""
    ms_per_text: float | None
    """Wall time of the calls, in batches of 64 that the three detectors get in turn; None without rows."""


class CascadeSetReport(Figures):
    """One set."""

    n: int
    """Rows that all three have a score for."""
    harmful: int
    failed: int
    """Labelled rows without a score by one of them; in no figure."""
    share_sent_on: float | None
    """Of the rows, to the second detector."""
    rows: dict[str, DetectorRow]
    """By "cascade", "first" and "second"."""
    losses: dict[str, float | None]
    """Figures of the second alone minus those of the cascade: above 0 the cascade lost, below 0 for FPR."""
    loss_intervals: dict[str, Span | None]
    """95% bootstrap intervals over the same resampled rows of both."""


class BandReport(Figures):
    """The band, and what it did where it was chosen."""

    low: float
    high: float
    rule: str
    max_loss: float | None
    """None where the band was given and not chosen; all that follows is then None too."""
    n: int | None = None
    share_sent_on: float | None = None
    auroc: float | None = None
    f1: float | None = None
    second_auroc: float | None = None
    second_f1: float | None = None


class CascadeReport(Figures):
    """Figures of one cascade."""

    cascade: str
    first: str
    second: str
    thresholds: dict[str, float]
    """By "cascade", "first" and "second"."""
    band: BandReport
    max_rows: int | None
    sets: dict[str, CascadeSetReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """Three detectors on one set."""

    outcomes: dict[str, list[Assessment | ItemFailure]]
    seconds: dict[str, float]


async def assess_twice(
    first: LoadedDetector,
    second: LoadedDetector,
    exchanges: Sequence[Exchange],
    labels: Sequence[bool],
    *,
    report_rows: Reports,
) -> Outcomes:
    """Asks two detectors about the same exchanges; rows that the second has no score for are left out.

    Raises:
        DependencyError: a detector is gone or late.
    """
    kept_labels: list[bool] = []
    firsts: list[Assessment | ItemFailure] = []
    seconds: list[Assessment] = []
    batches = zip(split_by_count(exchanges, _BATCH_SIZE), split_by_count(labels, _BATCH_SIZE), strict=True)
    for batch, known in batches:
        found = zip(await first.assess(batch), await second.assess(batch), known, strict=True)
        for early, late, label in found:
            if isinstance(late, Assessment):
                firsts.append(early)
                seconds.append(late)
                kept_labels.append(label)
        report_rows(len(batch))
    return Outcomes(labels=kept_labels, first=firsts, second=seconds)


async def evaluate_cascade(
    cascade: CascadeDetector,
    first: LoadedDetector,
    second: LoadedDetector,
    rows: EvaluationRows,
    *,
    clock: Callable[[], float],
    report_rows: Reports,
) -> CascadeSetReport:
    """Asks all three about the labelled rows of a set, batch by batch in turn, and compares them.

    Args:
        cascade: made of the two.
        first: its first detector.
        second: its second detector.
        rows: the rows.
        clock: seconds that only rise.
        report_rows: hears of rows that all three are done with.

    Raises:
        DependencyError: a detector is gone or late.
    """
    exchanges = [to_exchange(record) for record in rows.labelled]
    readable = [(row, exchange) for row, exchange in enumerate(exchanges) if exchange is not None]
    report_rows(len(exchanges) - len(readable))
    detectors: dict[str, LoadedDetector] = {"cascade": cascade, "first": first, "second": second}
    trial = await _try(detectors, [exchange for _, exchange in readable], clock, report_rows)
    labels = [rows.labelled[row].label == 1 for row, _ in readable]
    return _compare(trial, labels, num_labelled=len(exchanges), cascade=cascade, first=first, second=second)


async def _try(
    detectors: Mapping[str, LoadedDetector], exchanges: Sequence[Exchange], clock: Callable[[], float], report: Reports
) -> _Trial:
    trial = _Trial(outcomes={name: [] for name in detectors}, seconds=dict.fromkeys(detectors, 0.0))
    for batch in split_by_count(exchanges, _BATCH_SIZE):
        for name, detector in detectors.items():
            begun = clock()
            trial.outcomes[name] += await detector.assess(batch)
            trial.seconds[name] += clock() - begun
        report(len(batch))
    return trial


def _compare(
    trial: _Trial,
    labels: Sequence[bool],
    *,
    num_labelled: int,
    cascade: CascadeDetector,
    first: LoadedDetector,
    second: LoadedDetector,
) -> CascadeSetReport:
    scored = [
        row
        for row in range(len(labels))
        if all(isinstance(outcomes[row], Assessment) for outcomes in trial.outcomes.values())
    ]
    labels_N = np.array([labels[row] for row in scored], dtype=np.bool_)
    scores = {
        name: np.array([outcome.harmfulness for row in scored if isinstance(outcome := found[row], Assessment)])
        for name, found in trial.outcomes.items()
    }
    thresholds = {"cascade": cascade.threshold, "first": first.threshold, "second": second.threshold}
    sent = [not cascade.band.settles(trial.outcomes["first"][row]) for row in scored]
    losses = _measure_losses(labels_N, scores["cascade"], scores["second"], second.threshold)
    return CascadeSetReport(
        n=len(scored),
        harmful=int(labels_N.sum()),
        failed=num_labelled - len(scored),
        share_sent_on=sum(sent) / len(sent) if sent else None,
        rows={
            name: _describe(labels_N, scores[name], thresholds[name], _to_ms(trial.seconds[name], len(labels)))
            for name in trial.outcomes
        },
        losses={name: found.value for name, found in losses.items()},
        loss_intervals={name: _span(found) for name, found in losses.items()},
    )


def _metrics_at(threshold: float) -> dict[str, metrics.Metric]:
    return {
        "auroc": metrics.auroc,
        "f1": partial(metrics.f1_at, threshold=threshold),
        "tpr_at_1pct_fpr": partial(metrics.tpr_at_fpr, max_fpr=0.01),
        "fpr": partial(metrics.fpr_at, threshold=threshold),
    }


def _describe(labels_N: Labels, scores_N: Scores, threshold: float, ms_per_text: float | None) -> DetectorRow:
    found = {
        name: metrics.estimate(metric, labels_N, scores_N, num_resamples=_NUM_RESAMPLES, seed=_SEED)
        for name, metric in _metrics_at(threshold).items()
    }
    return DetectorRow.model_validate(
        {name: estimate.value for name, estimate in found.items()}
        | {"intervals": {name: _span(estimate) for name, estimate in found.items()}, "ms_per_text": ms_per_text}
    )


def _measure_losses(labels_N: Labels, cascade_N: Scores, second_N: Scores, threshold: float) -> dict[str, Estimate]:
    def measure(metric: metrics.Metric, rows: metrics.Rows) -> float | None:
        alone, together = metric(labels_N[rows], second_N[rows]), metric(labels_N[rows], cascade_N[rows])
        return None if alone is None or together is None else alone - together

    return {
        name: metrics.estimate_rows(partial(measure, metric), len(labels_N), num_resamples=_NUM_RESAMPLES, seed=_SEED)
        for name, metric in _metrics_at(threshold).items()
    }


def _to_ms(seconds: float, num_texts: int) -> float | None:
    return 1_000.0 * seconds / num_texts if num_texts else None


def _span(found: Estimate) -> Span | None:
    return None if found.interval is None else (found.interval.low, found.interval.high)
