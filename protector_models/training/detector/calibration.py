"""From logits to probabilities: scale and bias per output, fitted on held-out rows (Platt scaling).

Shapes: N rows.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]  # ships no types

from protector_models.checkpoints.cards import Calibration

Numbers = npt.NDArray[np.float64]

# The logit as it is: what an output gets that has too few held-out rows of either label to fit two numbers.
UNCALIBRATED = Calibration(scale=1.0, bias=0.0)
_MIN_ROWS_OF_A_LABEL = 25
_DECIMALS = 4


def fit_calibration(logits: Sequence[float], labels: Sequence[float | None]) -> Calibration:
    """Fits scale and bias of one output; `UNCALIBRATED` where a label has fewer than 25 rows or the logits mislead.

    Args:
        logits: of each row; finite.
        labels: 1.0, 0.0, or None where a row says nothing of the output.
    """
    known = [place for place, label in enumerate(labels) if label is not None]
    labels_N: Numbers = np.array([labels[place] for place in known], dtype=np.float64)
    logits_N1: Numbers = np.array([[logits[place]] for place in known], dtype=np.float64)
    if min((labels_N == 1.0).sum(), (labels_N == 0.0).sum()) < _MIN_ROWS_OF_A_LABEL:
        return UNCALIBRATED
    regression = LogisticRegression(C=1.0, max_iter=1_000).fit(logits_N1, labels_N)
    scale = round(float(regression.coef_[0, 0]), _DECIMALS)
    if scale <= 0.0:
        return UNCALIBRATED
    return Calibration(scale=scale, bias=round(float(regression.intercept_[0]), _DECIMALS))


def pick_budget_thresholds(
    safe_scores: Sequence[float], budgets: Sequence[float], *, decimals: int
) -> dict[str, float | None]:
    """Returns per false positive budget the lowest threshold that flags at most that share of safe rows.

    Args:
        safe_scores: scores of safe rows, in [0, 1].
        budgets: shares, for instance 0.01.
        decimals: that the scores have, and the threshold gets.

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
            highest_kept = float(ordered[len(ordered) - num_allowed - 1])
            # Rounded, not floored: scores have that many decimals, and 0.0003 times 10,000 is a little less than 3.
            threshold = (round(highest_kept * 10**decimals) + 1) / 10**decimals
            thresholds[f"{budget:g}"] = threshold if threshold <= 1.0 else None
    return thresholds
