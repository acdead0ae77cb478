"""The bag of words of a weights directory as a detector of its own: it reads as the detector does and runs no encoder.

Cheaper by the encoder's runs than the detector whose part it is, and less sure: the first of a cascade, or a row to
beat.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from protector_models.checkpoints.cards import Calibration, CheckpointCard, CheckpointError
from protector_models.detectors.shipped.bag_of_words import BAG_OF_WORDS_FILE, BagOfWords
from protector_models.detectors.shipped.detector_heads import WindowLogits
from protector_models.detectors.shipped.harm_detector import DEFAULT_MAX_WINDOWS, OnnxHarmDetector
from protector_models.detectors.shipped.weights_in_use import TOKENIZER_FILE
from protector_models.detectors.shipped.window_layout import TokenPair

# Its logits are those of logistic regressions, the categories' among them: probabilities as they are.
_AS_IT_IS = Calibration(scale=1.0, bias=0.0)


class _WordScorer:
    """Scores windows by their words alone, all pieces of a window alike. Implements `WindowScorer`."""

    engine = "none"
    tells_pieces_apart = False

    def __init__(self, bag_of_words: BagOfWords) -> None:
        self._bag_of_words = bag_of_words

    def score(self, windows: Iterable[TokenPair]) -> list[WindowLogits]:
        taken = list(windows)
        return [
            WindowLogits(pieces_SK=np.tile(logits_K, (len(window.pieces), 1)), whole_K=logits_K)
            for window, logits_K in zip(taken, self._bag_of_words.score(taken), strict=True)
        ]


def load_bag_of_words_detector(directory: Path, *, max_windows: int = DEFAULT_MAX_WINDOWS) -> OnnxHarmDetector:
    """Loads the bag of words of a weights directory; its threshold is the one chosen for it alone.

    The categories are those of the directory's detector, each scored by words alone.

    Args:
        directory: as `weir train detector` writes it.
        max_windows: the most windows read of one exchange, at least 1.

    Raises:
        CheckpointError: the directory cannot be used.
        ValueError: `max_windows` is less than 1.
    """
    card = CheckpointCard.load(directory)
    threshold = card.require_words_threshold(directory)
    bag_of_words = BagOfWords.load(directory / BAG_OF_WORDS_FILE)
    if len(bag_of_words.biases_K) != len(card.calibrations):
        raise CheckpointError(
            f"{directory}: a bag of words of {len(bag_of_words.biases_K)} outputs, the card has "
            f"{len(card.calibrations)}"
        )
    used = (TOKENIZER_FILE, BAG_OF_WORDS_FILE)
    alone = card.model_copy(
        update={
            "name": f"{card.name}-words",
            # A new encoder beside the same words makes no new detector.
            "files": {name: card.files[name] for name in used if name in card.files},
            "calibrations": (_AS_IT_IS,) * len(card.calibrations),
            "threshold": threshold,
        }
    )
    return OnnxHarmDetector.compose(directory, alone, _WordScorer(bag_of_words), max_windows=max_windows)
