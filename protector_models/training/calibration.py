"""From two models' logits to one probability: weights and bias per output, fitted on the held-out slice.

This stacks encoder and bag of words and calibrates their sum in one step (Platt scaling with two inputs).

Shapes: R rows (first windows of held-out exchanges), K outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]  # ships no types

from protector_models.checkpoints import LogitMix

Matrix = npt.NDArray[np.float64]

# The encoder's logit as it is: what an output gets that has too few held-out rows of either label to fit three numbers.
UNFITTED = LogitMix(encoder=1.0, bag_of_words=0.0, bias=0.0)
_MIN_ROWS_OF_A_LABEL = 25
_DECIMALS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutLogits:
    """What both models say of held-out windows, and what is true."""

    encoder_RK: Matrix
    bag_of_words_RK: Matrix
    labels_RK: Matrix
    """1.0, 0.0, or NaN where a row says nothing of an output."""

    def pick(self, rows: Sequence[int]) -> "HeldOutLogits":
        """Returns some of the rows."""
        return HeldOutLogits(
            encoder_RK=self.encoder_RK[rows],
            bag_of_words_RK=self.bag_of_words_RK[rows],
            labels_RK=self.labels_RK[rows],
        )

    def join(self, other: "HeldOutLogits") -> "HeldOutLogits":
        """Returns the rows of both."""
        return HeldOutLogits(
            encoder_RK=np.concatenate([self.encoder_RK, other.encoder_RK]),
            bag_of_words_RK=np.concatenate([self.bag_of_words_RK, other.bag_of_words_RK]),
            labels_RK=np.concatenate([self.labels_RK, other.labels_RK]),
        )


def fit_mix(held_out: HeldOutLogits, output: int) -> LogitMix:
    """Fits the mix of one output; `UNFITTED` where a label has fewer than 25 rows.

    A model that would get a negative weight is left out, and the other fitted alone.
    """
    labels_R = held_out.labels_RK[:, output]
    known_R = ~np.isnan(labels_R)
    labels = labels_R[known_R]
    logits_R2 = np.stack([held_out.encoder_RK[:, output], held_out.bag_of_words_RK[:, output]], axis=1)[known_R]
    if min((labels == 1.0).sum(), (labels == 0.0).sum()) < _MIN_ROWS_OF_A_LABEL:
        return UNFITTED
    regression = LogisticRegression(C=1.0, max_iter=1_000).fit(logits_R2, labels)
    if (regression.coef_ < 0.0).any():
        logits_R2 = np.where(regression.coef_ < 0.0, 0.0, logits_R2)
        regression = LogisticRegression(C=1.0, max_iter=1_000).fit(logits_R2, labels)
    encoder, bag_of_words = (round(max(0.0, float(weight)), _DECIMALS) for weight in regression.coef_[0])
    return LogitMix(encoder=encoder, bag_of_words=bag_of_words, bias=round(float(regression.intercept_[0]), _DECIMALS))


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
