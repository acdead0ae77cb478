"""The detector's own bag of words judging alone: the row that its encoder has to beat."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from protector_models.detectors.shipped.bag_of_words_detector import load_bag_of_words_detector
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment


class BagOfWordsJudge:
    """Reads exchanges as the detector does, window by window. Implements `BaselineJudge`."""

    name = "bag of words"

    def __init__(self, detector: OnnxHarmDetector) -> None:
        self._detector = detector

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Loads the part of a weights directory.

        Raises:
            CheckpointError: the directory cannot be used.
        """
        return cls(load_bag_of_words_detector(directory))

    @property
    def threshold(self) -> float:
        """Chosen on the held-out slice by the detector's own rule."""
        return self._detector.threshold

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
