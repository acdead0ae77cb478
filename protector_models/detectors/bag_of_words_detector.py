"""The bag of words of a weights directory as a detector of its own: it reads as the detector does and runs no encoder.

Cheaper by the encoder's runs than the detector whose part it is, and less sure: the first of a cascade, or a row to
beat.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from protector_models.checkpoints import CheckpointCard, LogitMix
from protector_models.detectors.bag_of_words import BAG_OF_WORDS_FILE
from protector_models.detectors.harm_detector import DEFAULT_MAX_WINDOWS, TOKENIZER_FILE, OnnxHarmDetector
from protector_models.detectors.prompts import TokenPair
from protector_models.detectors.window_scorer import Logits

# Its logits are those of logistic regressions, the categories' among them: probabilities as they are.
_ALONE = LogitMix(encoder=0.0, bag_of_words=1.0, bias=0.0)


class _NoEncoder:
    """Stands where the encoder would, with logits that weigh nothing. Implements `WindowScorer`."""

    engine = "none"

    def __init__(self, num_logits: int) -> None:
        self._logits_K = np.zeros(num_logits, dtype=np.float32)

    def score(self, windows: Iterable[TokenPair]) -> list[Logits]:
        return [self._logits_K for _ in windows]


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
    used = (TOKENIZER_FILE, BAG_OF_WORDS_FILE)
    alone = card.model_copy(
        update={
            "name": f"{card.name}-words",
            # A new encoder beside the same words makes no new detector.
            "files": {name: card.files[name] for name in used if name in card.files},
            "mixes": (_ALONE,) * len(card.mixes),
            "threshold": card.bag_of_words_threshold,
        }
    )
    return OnnxHarmDetector.compose(directory, alone, _NoEncoder(len(card.mixes)), max_windows=max_windows)
