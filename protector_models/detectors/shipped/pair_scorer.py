"""Two engines over the same windows: a fast one reads all of them, an accurate one those that it is not sure of.

Both judge the same pieces, so what they say of a piece can be joined: where a window is read by both, a logit is the
weighted mean of two calibrated ones. Windows are sent on one by one: of a long answer the accurate engine reads the
passages in doubt, and a window's logits do not depend on its neighbours.

Shapes: K logits, S pieces of one window.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from protector_models.checkpoints.cards import Calibration
from protector_models.detectors.shipped.detector_heads import WindowLogits
from protector_models.detectors.shipped.window_aggregation import ALONE, ANSWER, join_windows, to_probability
from protector_models.detectors.shipped.window_layout import TokenPair
from protector_models.detectors.shipped.window_scorer import WindowScorer

_RULE = "pair by window"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedScorer:
    """An engine and what makes probabilities of its logits."""

    scorer: WindowScorer
    calibrations: Sequence[Calibration]

    def score(self, windows: Iterable[TokenPair]) -> list[WindowLogits]:
        """Scores windows; the logits are calibrated.

        Raises:
            RuntimeError: the engine failed.
        """
        scales_K, biases_K = np.array([(one.scale, one.bias) for one in self.calibrations], dtype=np.float32).T
        return [
            replace(found, pieces_SK=found.pieces_SK * scales_K + biases_K, whole_K=found.whole_K * scales_K + biases_K)
            for found in self.scorer.score(windows)
        ]


class PairScorer:
    """Scores windows with one engine, and those in doubt with another too. Implements `WindowScorer`."""

    def __init__(
        self, fast: CalibratedScorer, accurate: CalibratedScorer, *, band: tuple[float, float], accurate_share: float
    ) -> None:
        """Put two engines together.

        Args:
            fast: reads every window.
            accurate: reads those whose harmfulness the first puts into the band.
            band: [low, high], both ends included, in [0, 1].
            accurate_share: of the accurate one's logit in the mean, in (0, 1].
        """
        self._fast = fast
        self._accurate = accurate
        self._band = band
        self._accurate_share = accurate_share

    @property
    def engine(self) -> str:
        """Both engines with their calibrations, what is sent on, and how logits are joined."""
        parts = [f"{one.scorer.engine} {[*one.calibrations]}" for one in (self._fast, self._accurate)]
        return f"{_RULE} {self._band} {self._accurate_share:g}: {'; '.join(parts)}"

    @property
    def tells_pieces_apart(self) -> bool:
        """Whether both do."""
        return self._fast.scorer.tells_pieces_apart and self._accurate.scorer.tells_pieces_apart

    def score(self, windows: Iterable[TokenPair]) -> list[WindowLogits]:
        """Scores each window with the fast engine, then those in doubt with the accurate one.

        Returns:
            Calibrated logits of each window and its pieces, in order.

        Raises:
            RuntimeError: an engine failed.
        """
        taken: list[TokenPair] = []

        def keep() -> Iterator[TokenPair]:
            for window in windows:
                taken.append(window)
                yield window

        found = self._fast.score(keep())
        places = [
            place for place, window in enumerate(taken) if self.is_in_doubt(found[place], has_prompt=window.has_prompt)
        ]
        seconds = self._accurate.score([taken[place] for place in places]) if places else []
        for place, second in zip(places, seconds, strict=True):
            found[place] = join(found[place], second, self._accurate_share)
        return found

    def is_in_doubt(self, logits: WindowLogits, *, has_prompt: bool) -> bool:
        """Tell whether a window's harmfulness lies in the band, or is no number; its logits are calibrated."""
        harmfulness = float(to_probability(join_windows([logits], [0])[:, ANSWER if has_prompt else ALONE].max()))
        low, high = self._band
        return not (harmfulness < low or harmfulness > high)


def join(fast: WindowLogits, accurate: WindowLogits, accurate_share: float) -> WindowLogits:
    """Returns the weighted mean of what two engines say of one window; vectors are the fast one's."""
    return replace(
        fast,
        pieces_SK=(1.0 - accurate_share) * fast.pieces_SK + accurate_share * accurate.pieces_SK,
        whole_K=(1.0 - accurate_share) * fast.whole_K + accurate_share * accurate.whole_K,
    )
