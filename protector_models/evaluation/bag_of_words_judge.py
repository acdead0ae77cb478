"""The detector's own bag of words judging alone: the row that its encoder has to beat."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from protector_models.checkpoints import CheckpointCard, LogitMix
from protector_models.harm_detector import OnnxHarmDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.verdict import Assessment
from protector_models.prompts import TokenPair
from protector_models.window_scorer import Logits

_BAG_OF_WORDS_ALONE = LogitMix(encoder=0.0, bag_of_words=1.0, bias=0.0)


class _NoEncoder:
    """Stands where the encoder would, with logits that weigh nothing. Implements `WindowScorer`."""

    engine = "none"

    def __init__(self, num_logits: int) -> None:
        self._logits_K = np.zeros(num_logits, dtype=np.float32)

    def score(self, windows: Iterable[TokenPair]) -> list[Logits]:
        return [self._logits_K for _ in windows]


class BagOfWordsJudge:
    """Reads exchanges as the detector does, window by window. Implements `BaselineJudge`."""

    name = "bag of words"

    def __init__(self, detector: OnnxHarmDetector, threshold: float) -> None:
        self._detector = detector
        self._threshold = threshold

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Loads the part of a weights directory.

        Raises:
            CheckpointError: the directory cannot be used.
        """
        card = CheckpointCard.load(directory)
        alone = card.model_copy(update={"mixes": (_BAG_OF_WORDS_ALONE,) * len(card.mixes)})
        detector = OnnxHarmDetector.compose(directory, alone, _NoEncoder(len(card.mixes)))
        return cls(detector, card.bag_of_words_threshold)

    @property
    def threshold(self) -> float:
        """Chosen on the held-out slice by the detector's own rule."""
        return self._threshold

    def score_rows(self, exchanges: Sequence[Exchange]) -> list[float]:
        """Returns harmfulness per exchange, in [0, 1]."""
        return [found.harmfulness for found in self._assess(exchanges)]

    def score_categories(self, exchanges: Sequence[Exchange]) -> list[Mapping[str, float]]:
        """Returns the scores by category per exchange, each in [0, 1]."""
        return [found.categories for found in self._assess(exchanges)]

    def _assess(self, exchanges: Sequence[Exchange]) -> list[Assessment]:
        found = self._detector.assess(exchanges)
        assessments = [outcome for outcome in found if isinstance(outcome, Assessment)]
        if len(assessments) < len(found):
            raise ValueError(f"the bag of words gave no finite number for {len(found) - len(assessments)} rows")
        return assessments
