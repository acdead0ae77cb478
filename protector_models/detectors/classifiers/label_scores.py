"""From a classifier's logits to harmfulness and categories, by its description.

Shapes: B inputs, L labels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from protector_models.descriptions.checkpoint_description import ClassificationHead
from protector_models.moderation.errors import ConfigurationError

Numbers = npt.NDArray[np.float64]


class LabelScores:
    """Reads the logits of one classifier."""

    def __init__(self, head: ClassificationHead, labels: Sequence[str]) -> None:
        """Find the labels that a description names.

        Args:
            head: the description's.
            labels: of the model, in the order of its logits.

        Raises:
            ConfigurationError: the model has no such labels, or more than one logit where none is named.
        """
        if unknown := sorted({*head.scored_labels, *head.categories} - set(labels)):
            raise ConfigurationError(
                f"detector.description: labels {', '.join(unknown)}: expected some of the model's: {', '.join(labels)}"
            )
        if not head.scored_labels and len(labels) != 1:
            raise ConfigurationError(
                f"detector.description: no scored_labels: expected a model of one logit, got labels {', '.join(labels)}"
            )
        if head.activation == "softmax" and len(labels) == 1:
            raise ConfigurationError(
                "detector.description: activation 'softmax': expected a model of two labels or more, got one"
            )
        self._activation = head.activation
        self._is_inverted = head.polarity == "harmless"
        self._scored = [labels.index(label) for label in head.scored_labels] or [0]
        self._indices_by_category = {
            category: [labels.index(label) for label, its in head.categories.items() if its == category]
            for category in sorted(set(head.categories.values()))
        }

    def read(self, logits_BL: Numbers) -> tuple[Numbers, dict[str, Numbers]]:
        """Return harmfulness [B], and by category its scores [B], each in [0, 1]; a category's never exceeds harm.

        Args:
            logits_BL: finite.
        """
        probabilities_BL = _softmax(logits_BL) if self._activation == "softmax" else _sigmoid(logits_BL)
        scored_B = self._join(probabilities_BL, self._scored)
        harmfulness_B = 1.0 - scored_B if self._is_inverted else scored_B
        categories: dict[str, Numbers] = {
            category: np.minimum(self._join(probabilities_BL, indices), harmfulness_B)
            for category, indices in self._indices_by_category.items()
        }
        return harmfulness_B, categories

    def _join(self, probabilities_BL: Numbers, indices: Sequence[int]) -> Numbers:
        """Return how likely any of some labels is."""
        chosen_BL = probabilities_BL[:, list(indices)]
        joined_B: Numbers = chosen_BL.sum(axis=1) if self._activation == "softmax" else chosen_BL.max(axis=1)
        return np.clip(joined_B, 0.0, 1.0)


def _sigmoid(logits: Numbers) -> Numbers:
    # Written with tanh because exp overflows, and warns, for logits far below zero.
    probabilities: Numbers = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return probabilities


def _softmax(logits_BL: Numbers) -> Numbers:
    powers_BL = np.exp(logits_BL - logits_BL.max(axis=1, keepdims=True))
    probabilities_BL: Numbers = powers_BL / powers_BL.sum(axis=1, keepdims=True)
    return probabilities_BL
