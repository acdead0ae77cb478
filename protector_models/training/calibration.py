"""From two models' logits to one probability: weights and bias per output, fitted on the held-out slice.

This stacks encoder and bag of words and calibrates their sum in one step (Platt scaling with two inputs).

Shapes: R rows (first windows of held-out exchanges), K outputs.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]  # ships no types

from protector_models.checkpoints import LogitMix

# The encoder's logit as it is: what an output gets that has too few held-out rows of either label to fit three numbers.
UNFITTED = LogitMix(encoder=1.0, bag_of_words=0.0, bias=0.0)
_MIN_ROWS_OF_A_LABEL = 25
_DECIMALS = 4


def fit_mixes(
    encoder_RK: npt.NDArray[np.float64], bag_of_words_RK: npt.NDArray[np.float64], labels_RK: npt.NDArray[np.float64]
) -> tuple[LogitMix, ...]:
    """Fits one mix per output.

    Args:
        encoder_RK: the encoder's logits.
        bag_of_words_RK: the bag of words' logits.
        labels_RK: 1.0, 0.0, or NaN where a row says nothing of an output.
    """
    return tuple(
        _fit(np.stack([encoder_RK[:, output], bag_of_words_RK[:, output]], axis=1), labels_RK[:, output])
        for output in range(labels_RK.shape[1])
    )


def _fit(logits_R2: npt.NDArray[np.float64], labels_R: npt.NDArray[np.float64]) -> LogitMix:
    known_R = ~np.isnan(labels_R)
    labels = labels_R[known_R]
    if min((labels == 1.0).sum(), (labels == 0.0).sum()) < _MIN_ROWS_OF_A_LABEL:
        return UNFITTED
    regression = LogisticRegression(C=1.0, max_iter=1_000).fit(logits_R2[known_R], labels)
    encoder, bag_of_words = (max(0.0, float(weight)) for weight in regression.coef_[0])
    return LogitMix(
        encoder=round(encoder, _DECIMALS),
        bag_of_words=round(bag_of_words, _DECIMALS),
        bias=round(float(regression.intercept_[0]), _DECIMALS),
    )


def pick_budget_thresholds(
    safe_scores: Sequence[float], budgets: Sequence[float], *, decimals: int
) -> dict[str, float | None]:
    """Returns per false positive budget the lowest threshold that flags at most that share of safe rows.

    Args:
        safe_scores: scores of safe rows, in [0, 1].
        budgets: shares, for instance 0.01.
        decimals: of the threshold, rounded up so that the budget holds.

    Returns:
        Keyed by the share as written ("0.01"); None where there are too few rows to tell (less than one row in the
        budget) or even 1.0 flags too many.
    """
    ordered = np.sort(np.array(safe_scores, dtype=np.float64))
    thresholds: dict[str, float | None] = {}
    for budget in budgets:
        num_allowed = int(budget * len(ordered))
        thresholds[f"{budget:g}"] = None
        if num_allowed >= 1:
            # The highest score that may not be flagged; the threshold is the next number above it.
            highest_kept = ordered[len(ordered) - num_allowed - 1]
            threshold = (np.floor(highest_kept * 10**decimals) + 1) / 10**decimals
            thresholds[f"{budget:g}"] = float(threshold) if threshold <= 1.0 else None
    return thresholds
