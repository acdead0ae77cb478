"""Metrics of a binary score, each undefined (None) where the data cannot give it, with bootstrap intervals.

Positive means harmful, in labels and scores. Shapes: N rows.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
Metric = Callable[[Labels, Scores], float | None]

_NUM_CALIBRATION_BINS = 15
_Z = 1.96
"""Of a 95% interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A 95% bootstrap interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A metric and its interval; both None where the metric does not exist for this data."""

    value: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """The rows whose scores fall into one bin; at least one."""

    num_rows: int
    mean_score: float
    harmful_share: float


def auroc(labels_N: Labels, scores_N: Scores) -> float | None:
    """Returns the area under the ROC curve (ties count half); None with one class only."""
    num_harmful = int(labels_N.sum())
    num_safe = len(labels_N) - num_harmful
    if num_harmful == 0 or num_safe == 0:
        return None
    rank_sum = float(_average_ranks(scores_N)[labels_N].sum())
    return (rank_sum - num_harmful * (num_harmful + 1) / 2) / (num_harmful * num_safe)


def auprc(labels_N: Labels, scores_N: Scores) -> float | None:
    """Returns the average precision; None without a harmful row."""
    if not labels_N.any():
        return None
    num_true_K, num_flagged_K = _cumulate_by_threshold(labels_N, scores_N)
    gained_K = np.diff(num_true_K, prepend=0)
    return float((gained_K * num_true_K / num_flagged_K).sum() / labels_N.sum())


def tpr_at_fpr(labels_N: Labels, scores_N: Scores, max_fpr: float) -> float | None:
    """Returns the best recall of any threshold that flags at most `max_fpr` of the safe rows; None with one class."""
    num_harmful = int(labels_N.sum())
    num_safe = len(labels_N) - num_harmful
    if num_harmful == 0 or num_safe == 0:
        return None
    num_true_K, num_flagged_K = _cumulate_by_threshold(labels_N, scores_N)
    allowed_K = (num_flagged_K - num_true_K) / num_safe <= max_fpr
    return float(num_true_K[allowed_K].max(initial=0) / num_harmful)


def precision_at(labels_N: Labels, scores_N: Scores, threshold: float) -> float | None:
    """Returns the harmful share of the flagged rows; None where no row is flagged or none is harmful."""
    flagged_N = scores_N >= threshold
    if not flagged_N.any() or not labels_N.any():
        return None
    return float(labels_N[flagged_N].mean())


def recall_at(labels_N: Labels, scores_N: Scores, threshold: float) -> float | None:
    """Returns the flagged share of the harmful rows; None where none is harmful."""
    return float((scores_N[labels_N] >= threshold).mean()) if labels_N.any() else None


def fpr_at(labels_N: Labels, scores_N: Scores, threshold: float) -> float | None:
    """Returns the flagged share of the safe rows; None where none is safe."""
    return None if labels_N.all() else float((scores_N[~labels_N] >= threshold).mean())


def f1_at(labels_N: Labels, scores_N: Scores, threshold: float) -> float | None:
    """Returns F1 of the harmful class; None without a harmful row."""
    if not labels_N.any():
        return None
    flagged_N = scores_N >= threshold
    return float(2 * (flagged_N & labels_N).sum() / (flagged_N.sum() + labels_N.sum()))


def expected_calibration_error(labels_N: Labels, scores_N: Scores) -> float | None:
    """Returns the mean gap of score and harmful share over 15 equal bins; None without rows or with one class only."""
    if len(labels_N) == 0 or labels_N.all() or not labels_N.any():
        return None
    bins = calibration_bins(labels_N, scores_N)
    return sum(abs(found.mean_score - found.harmful_share) * found.num_rows for found in bins) / len(labels_N)


def calibration_bins(labels_N: Labels, scores_N: Scores) -> list[CalibrationBin]:
    """Cuts [0, 1] into 15 equal bins and returns those that hold a row, from the lowest up."""
    bins_N = np.minimum((scores_N * _NUM_CALIBRATION_BINS).astype(np.int64), _NUM_CALIBRATION_BINS - 1)
    return [
        CalibrationBin(
            num_rows=int((bins_N == index).sum()),
            mean_score=float(scores_N[bins_N == index].mean()),
            harmful_share=float(labels_N[bins_N == index].mean()),
        )
        for index in np.unique(bins_N)
    ]


def roc_points(labels_N: Labels, scores_N: Scores) -> tuple[Scores, Scores]:
    """Returns false and true positive rate from (0, 0) to (1, 1), one point per distinct score; needs both classes."""
    num_true_K, num_flagged_K = _cumulate_by_threshold(labels_N, scores_N)
    num_harmful = int(labels_N.sum())
    fpr_K = (num_flagged_K - num_true_K) / (len(labels_N) - num_harmful)
    return np.insert(fpr_K, 0, 0.0), np.insert(num_true_K / num_harmful, 0, 0.0)


def rank_within_prompts(
    prompts: Sequence[str], labels_N: Labels, scores_N: Scores, *, num_resamples: int, seed: int
) -> Estimate:
    """Computes the share of harmful/safe pairs of one prompt in which the harmful one scores higher; ties count half.

    Rows without a prompt are left out; None where no prompt has both kinds. Prompts are resampled for the interval, not
    rows: the pairs of one prompt share their answers, and are no independent draws.
    """
    rows_by_prompt: dict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompts):
        if prompt:
            rows_by_prompt[prompt].append(row)
    num_right: list[float] = []
    num_pairs: list[int] = []
    for rows in rows_by_prompt.values():
        harmful_H, safe_S = scores_N[rows][labels_N[rows]], scores_N[rows][~labels_N[rows]]
        if harmful_H.size and safe_S.size:
            gaps_HS = harmful_H[:, None] - safe_S[None, :]
            num_right.append(float((gaps_HS > 0).sum() + 0.5 * (gaps_HS == 0).sum()))
            num_pairs.append(gaps_HS.size)
    right_P, pairs_P = np.array(num_right), np.array(num_pairs)
    return estimate_rows(
        lambda prompts_P: float(right_P[prompts_P].sum() / pairs_P[prompts_P].sum()),
        len(pairs_P),
        num_resamples=num_resamples,
        seed=seed,
    )


def estimate(metric: Metric, labels_N: Labels, scores_N: Scores, *, num_resamples: int, seed: int) -> Estimate:
    """Computes a metric and its interval over resampled rows; see `estimate_rows`."""
    return estimate_rows(
        lambda rows: metric(labels_N[rows], scores_N[rows]), len(labels_N), num_resamples=num_resamples, seed=seed
    )


def estimate_rows(measure: Callable[[Rows], float | None], num_rows: int, *, num_resamples: int, seed: int) -> Estimate:
    """Computes a figure of some rows, given by their numbers, and its 95% percentile interval over resampled ones.

    Resamples in which the figure does not exist are left out; with none left there is no interval.
    """
    value = measure(np.arange(num_rows)) if num_rows else None
    if value is None:
        return Estimate(value=None, interval=None)
    rng = np.random.default_rng(seed)
    drawn = (measure(rng.integers(0, num_rows, num_rows)) for _ in range(num_resamples))
    values = [found for found in drawn if found is not None]
    if not values:
        return Estimate(value=value, interval=None)
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(value=value, interval=Interval(low=float(low), high=float(high)))


def unanimous_interval(value: float, num_rows: int) -> Interval:
    """Returns Wilson's 95% interval of a share on which all rows agree: every resample of them does too.

    Args:
        value: 0.0 or 1.0.
        num_rows: at least 1.
    """
    width = _Z * _Z / (num_rows + _Z * _Z)
    return Interval(low=0.0, high=width) if value == 0.0 else Interval(low=1.0 - width, high=1.0)


def _average_ranks(scores_N: Scores) -> Scores:
    """Returns ranks from 1, equal scores sharing the mean of theirs."""
    _, inverse_N, counts_K = np.unique(scores_N, return_inverse=True, return_counts=True)
    last_rank_K = np.cumsum(counts_K)
    ranks_N: Scores = (last_rank_K - (counts_K - 1) / 2)[inverse_N]
    return ranks_N


def _cumulate_by_threshold(labels_N: Labels, scores_N: Scores) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns, per distinct score from the highest down, how many harmful rows and how many rows are at or above it."""
    order = np.argsort(-scores_N, kind="stable")
    is_last_of_tie = np.append(np.diff(scores_N[order]) != 0, True)
    num_true = np.cumsum(labels_N[order])[is_last_of_tie]
    num_flagged = np.flatnonzero(is_last_of_tie) + 1
    return num_true.astype(np.int64), num_flagged.astype(np.int64)
