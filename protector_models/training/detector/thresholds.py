"""Choosing the threshold on the held-out slice, with the weights as they will be served."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protector_models.evaluation.metrics import f1_at, fpr_at
from protector_models.records.examples import Example

MAX_BENIGN_FPR = 0.01
"""Share of ordinary answers that may be flagged."""

THRESHOLD_RULE = (
    f"best F1 on the held-out answers among thresholds that flag at most {MAX_BENIGN_FPR:.0%} of the held-out answers "
    "of ordinary sets, on the int8 weights"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdChoice:
    """A threshold and what it does on the held-out slice."""

    threshold: float
    f1: float
    benign_fpr: float


def choose_threshold(examples: Sequence[Example], scores: Sequence[float]) -> ThresholdChoice:
    """Picks the threshold of best F1 among those that flag at most 1% of the ordinary answers.

    Args:
        examples: held-out rows with labels.
        scores: harmfulness of each, in [0, 1].

    Raises:
        ValueError: no harmful row, or no row of an ordinary set.
    """
    scores_N = np.array(scores, dtype=np.float64)
    labels_N = np.array([example.harmful == 1.0 for example in examples])
    benign_N = np.array([example.is_benign_set for example in examples])
    if not labels_N.any() or not benign_N.any():
        raise ValueError("the held-out slice needs harmful rows and rows of ordinary sets")
    choices: list[ThresholdChoice] = []
    # Scores carry four decimals, and a policy file is read by people: three are enough.
    for threshold in np.arange(1, 1000) / 1000:
        benign_fpr = fpr_at(labels_N[benign_N], scores_N[benign_N], float(threshold))
        f1 = f1_at(labels_N, scores_N, float(threshold))
        if benign_fpr is not None and benign_fpr <= MAX_BENIGN_FPR and f1 is not None:
            choices.append(ThresholdChoice(threshold=float(threshold), f1=f1, benign_fpr=benign_fpr))
    if not choices:
        raise ValueError("no threshold below 1 keeps the false positives on ordinary answers in their budget")
    return max(choices, key=lambda choice: choice.f1)
