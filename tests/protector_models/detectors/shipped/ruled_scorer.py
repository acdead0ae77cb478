"""An encoder whose logits are a rule on what it is shown, and a detector around it."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from protector_models.checkpoints.cards import Calibration, CheckpointCard
from protector_models.detectors.shipped.detector_heads import Array, WindowLogits
from protector_models.detectors.shipped.harm_detector import DEFAULT_MAX_WINDOWS, OnnxHarmDetector
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS
from protector_models.detectors.shipped.window_layout import Bounds, TokenPair

CARD = CheckpointCard.load(SHIPPED_WEIGHTS)
NUM_LOGITS = len(CARD.calibrations)
AS_IT_IS = Calibration(scale=1.0, bias=0.0)
APPLE, BREAD = 6207, 7852
"""Token ids of the two words, as the shipped vocabulary has them."""

Rule = Callable[[TokenPair, Bounds], Sequence[float]]
"""From a window, and the tokens of a piece in it, to the piece's first logits; those that it leaves out are 0."""


def nothing_more(window: TokenPair, response: Bounds) -> Sequence[float]:
    """Find nothing in a response as a whole."""
    return (-100.0,) * NUM_LOGITS


class RuledScorer:
    """Scores pieces, and responses as wholes, by rules. Implements `WindowScorer`."""

    engine = "rule"
    tells_pieces_apart = True

    def __init__(self, pieces: Rule, whole: Rule = nothing_more) -> None:
        self._pieces = pieces
        self._whole = whole

    def score(self, windows: Iterable[TokenPair]) -> list[WindowLogits]:
        """Score each window."""
        return [
            WindowLogits(
                pieces_SK=np.stack([_fill(self._pieces(window, piece)) for piece in window.pieces]),
                whole_K=_fill(self._whole(window, window.response)),
            )
            for window in windows
        ]


def compose(
    pieces: Rule,
    whole: Rule = nothing_more,
    *,
    calibration: Calibration = AS_IT_IS,
    max_windows: int = DEFAULT_MAX_WINDOWS,
) -> OnnxHarmDetector:
    """Put a detector together that reads as the shipped one does and judges by rules."""
    card = CARD.model_copy(update={"calibrations": (calibration,) * NUM_LOGITS})
    return OnnxHarmDetector.compose(SHIPPED_WEIGHTS, card, RuledScorer(pieces, whole), max_windows=max_windows)


def holds(window: TokenPair, bounds: Bounds, token: int) -> bool:
    """Tell whether a token is among those of a piece."""
    return token in window.input_ids[slice(*bounds)]


def _fill(logits: Sequence[float]) -> Array:
    return np.array([*logits, *([0.0] * NUM_LOGITS)][:NUM_LOGITS], dtype=np.float32)
