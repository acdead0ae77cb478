"""Shares of behaviour rows with intervals over templates: rows of one template are no independent draws."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from protector_models.evaluation import metrics
from protector_models.evaluation.behaviours.behaviour_row import Wanted
from protector_models.evaluation.behaviours.report import Share
from protector_models.evaluation.behaviours.scoring import ScoredRow
from protector_models.evaluation.metrics import Estimate
from protector_models.evaluation.report import Span

_NUM_RESAMPLES = 200
_SEED = 0


def share_of(templates: Sequence[str], is_counted: Sequence[bool]) -> Share:
    """Return the share of rows that count, its interval over resampled templates.

    Args:
        templates: of each row.
        is_counted: of each row, whether it counts.
    """
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for template, counted in zip(templates, is_counted, strict=True):
        counts[template][0] += counted
        counts[template][1] += 1
    num_counted_T, num_rows_T = np.array(list(counts.values()), dtype=np.int64).reshape(-1, 2).T
    found = metrics.estimate_rows(
        lambda drawn: float(num_counted_T[drawn].sum() / num_rows_T[drawn].sum()),
        len(counts),
        num_resamples=_NUM_RESAMPLES,
        seed=_SEED,
    )
    # All resamples of one template are that template: they say nothing of others.
    interval = span_of(found) if len(counts) > 1 else None
    if found.value in (0.0, 1.0):
        unanimous = metrics.unanimous_interval(found.value, len(counts))
        interval = (unanimous.low, unanimous.high)
    return Share(n=len(is_counted), value=found.value, interval=interval)


def retention(rows: Sequence[ScoredRow], *, threshold: float, wanted: Wanted = "act") -> Share:
    """Return how often what is judged rightly alone is judged rightly in company or disguise as well.

    Of the rows whose piece has the wanted verdict by itself, it is the share that has it still. Where `act` is wanted,
    this is the law that harmless company never takes what is flagged alone to `allow`, as a rate.

    Args:
        rows: rows of pieces in company, and among them those of the pieces alone. All others are passed over.
        threshold: harmfulness from which on a row counts as flagged.
        wanted: the verdict that is looked at.

    Raises:
        ValueError: the row of a piece alone is not among the rows.
    """
    return retention_beside(rows, {each.row.row_id: each for each in rows}, threshold=threshold, wanted=wanted)


def retention_beside(
    rows: Sequence[ScoredRow], alone: Mapping[str, ScoredRow], *, threshold: float, wanted: Wanted
) -> Share:
    """Return the same, with the rows of the pieces alone given by their ids.

    Raises:
        ValueError: the row of a piece alone is not among them.
    """
    compared = [(each, each.row.alone) for each in rows if each.row.alone is not None and each.row.wanted == wanted]
    if missing := sorted({row_id for _, row_id in compared if row_id not in alone}):
        raise ValueError(f"expected a score of the row {missing[0]!r}, which others are compared with")
    kept = [each for each, row_id in compared if alone[row_id].is_right(threshold)]
    return share_of([each.row.template for each in kept], [each.is_right(threshold) for each in kept])


def auroc_of(rows: Sequence[ScoredRow]) -> tuple[float | None, Span | None]:
    """Return how well the scores rank rows to be acted on above others, and its interval over rows."""
    labels_N = np.array([each.row.wanted == "act" for each in rows], dtype=np.bool_)
    scores_N = np.array([each.harmfulness for each in rows], dtype=np.float64)
    found = metrics.estimate(metrics.auroc, labels_N, scores_N, num_resamples=_NUM_RESAMPLES, seed=_SEED)
    return found.value, span_of(found)


def calibration_error_of(rows: Sequence[ScoredRow]) -> float | None:
    """Return the expected calibration error; None with one wanted verdict only."""
    labels_N = np.array([each.row.wanted == "act" for each in rows], dtype=np.bool_)
    scores_N = np.array([each.harmfulness for each in rows], dtype=np.float64)
    return metrics.expected_calibration_error(labels_N, scores_N)


def span_of(found: Estimate) -> Span | None:
    """Return the interval as reports have it."""
    return None if found.interval is None else (found.interval.low, found.interval.high)
