"""Two detectors, one after the other: a light one settles what it is sure of, another reads the rest.

The scale of a cascade's scores is the second detector's, and so is its threshold. A score of the first is shifted in
log-odds so that the first's threshold comes to lie on the second's:

    harmfulness = sigmoid(logit(score) + logit(threshold of the second) - logit(threshold of the first))

The shift keeps the order of scores, leaves 0 and 1 where they are, and keeps each score on its side of the threshold.
It does not make the two equally calibrated: a policy with a threshold of its own should keep it within the shifted band
(`Alignment.shift` of both ends), outside of which the first detector's word is final.
"""

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from protector_models.detectors.loaded_detector import LoadedDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import Assessment, ItemFailure, ScoredPiece
from protector_models.moderation.revisions import make_revision
from protector_models.moderation.stages import StageStatus

# Changed with every change of what is sent on and of what becomes of scores.
_RULE = "log-odds shift, band inclusive, unread and failed on"
_STEPS = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Scores of the first detector that settle nothing: [low, high], both ends included, in [0, 1]."""

    low: float
    high: float

    def settles(self, outcome: Assessment | ItemFailure) -> bool:
        """Tell whether the first detector's outcome is final: a score outside the band, of a text read in full."""
        if isinstance(outcome, ItemFailure) or outcome.status() is not StageStatus.COMPLETE:
            return False
        return not self.low <= outcome.harmfulness <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """How scores of the first detector are put on the scale of the second."""

    first_threshold: float
    second_threshold: float

    @classmethod
    def of(cls, *, first_threshold: float, second_threshold: float, band: Band) -> Self:
        """Check that the thresholds and the band fit together.

        Raises:
            ConfigurationError: a threshold is 0 or 1, or the first's is not in the band.
        """
        for name, threshold in (("first", first_threshold), ("second", second_threshold)):
            if not 0.0 < threshold < 1.0:
                raise ConfigurationError(
                    f"detector.cascade.{name}: its threshold is {threshold:g}; expected one between 0 and 1, both "
                    "excluded: scores of two detectors are aligned by it"
                )
        if not band.low <= first_threshold <= band.high:
            raise ConfigurationError(
                f"detector.cascade.band: [{band.low:g}, {band.high:g}]; expected it to hold the first detector's "
                f"threshold {first_threshold:g}, where it is least sure"
            )
        return cls(first_threshold=first_threshold, second_threshold=second_threshold)

    def shift(self, score: float) -> float:
        """Return a score of the first, in [0, 1], on the scale of the second; 4 decimals, on its side of the threshold.

        Rounded away from the threshold: else a score just below it could come to lie on it.
        """
        if score in (0.0, 1.0):
            return score
        shifted = _sigmoid(_logit(score) + _logit(self.second_threshold) - _logit(self.first_threshold))
        if score >= self.first_threshold:
            return max(math.ceil(shifted * _STEPS) / _STEPS, self.second_threshold)
        return min(math.floor(shifted * _STEPS) / _STEPS, math.nextafter(self.second_threshold, 0.0))


def common_categories(first: Collection[str], second: Collection[str], band: tuple[float, float]) -> frozenset[str]:
    """Return the categories that every assessment of a cascade has a score for.

    Those that both detectors know: a rule about another would pass over what the first settles as harmful. With a band
    up to 1 the first settles only what is safe, and safe in all categories: then they are the second's.
    """
    return frozenset(second) if band[1] >= 1.0 else frozenset(first) & frozenset(second)


class CascadeDetector:
    """Sends what the first detector is not sure of to the second. Implements `LoadedDetector`.

    What the first could not score, or did not read in full, goes to the second too, which then has the last word: its
    failures and its coverage are the cascade's. An exchange's assessment does not depend on its neighbours where those
    of the two detectors do not.
    """

    def __init__(self, first: LoadedDetector, second: LoadedDetector, *, band: Band) -> None:
        """Put two loaded detectors together; they are closed with the cascade.

        Raises:
            ConfigurationError: thresholds and band do not fit together.
        """
        self._first = first
        self._second = second
        self._band = band
        self._alignment = Alignment.of(first_threshold=first.threshold, second_threshold=second.threshold, band=band)
        self._categories = common_categories(first.categories, second.categories, (band.low, band.high))
        self._revision = _make_revision(first, second, band)

    @property
    def revision(self) -> str:
        """Made of both detectors, their thresholds and the band; `judged_by` of assessments names who scored."""
        return self._revision

    @property
    def band(self) -> Band:
        """What the first detector does not settle."""
        return self._band

    @property
    def threshold(self) -> float:
        """The second detector's: its scale is the cascade's."""
        return self._second.threshold

    @property
    def categories(self) -> frozenset[str]:
        """The categories that it gives a score for; see `common_categories`."""
        return self._categories

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange; the second detector gets those that the first did not settle, in one call.

        Raises:
            DependencyError: either detector is gone or late; nothing was decided.
        """
        outcomes = await self._first.assess(exchanges)
        open_rows = [row for row, outcome in enumerate(outcomes) if not self._band.settles(outcome)]
        seconds = await self._second.assess([exchanges[row] for row in open_rows]) if open_rows else []
        by_row = dict(zip(open_rows, seconds, strict=True))
        return [self._conclude(outcome, by_row.get(row)) for row, outcome in enumerate(outcomes)]

    def _conclude(
        self, first: Assessment | ItemFailure, second: Assessment | ItemFailure | None
    ) -> Assessment | ItemFailure:
        if isinstance(second, ItemFailure):
            return second
        if second is None:
            assert isinstance(first, Assessment), "what failed is never settled"
            judged = self._align(first)
        else:
            judged = second
        pieces = judged.pieces and tuple(
            piece.model_copy(update={"categories": self._keep_common(piece.categories)}) for piece in judged.pieces
        )
        return judged.model_copy(
            update={
                "categories": self._keep_common(judged.categories),
                "pieces": pieces,
                "detector": self._revision,
                "judged_by": judged.judged_by or judged.detector,
            }
        )

    def _align(self, settled: Assessment) -> Assessment:
        """Put all scores of what the first detector settled on the second's scale."""
        pieces = settled.pieces and tuple(piece.model_copy(update=self._shift(piece)) for piece in settled.pieces)
        return settled.model_copy(update={**self._shift(settled), "pieces": pieces})

    def _shift(self, scored: Assessment | ScoredPiece) -> dict[str, object]:
        shift = self._alignment.shift
        return {
            "harmfulness": shift(scored.harmfulness),
            "categories": {name: shift(score) for name, score in scored.categories.items()},
        }

    def _keep_common(self, scores: Mapping[str, float]) -> dict[str, float]:
        # Where the first settles only what is safe, it is safe in the categories that only the second knows.
        return {name: scores.get(name, 0.0) for name in sorted(self._categories)}

    def warm_up(self) -> None:
        """Warm up both, one after the other.

        Raises:
            ModelUnavailableError: one gave no scores.
        """
        self._first.warm_up()
        self._second.warm_up()

    async def check_health(self, *, timeout_s: float) -> None:
        """Check both at the same time: the second may not have been asked for long.

        Raises:
            ModelUnavailableError: one gave no scores, or none in time.
        """
        await asyncio.gather(
            self._first.check_health(timeout_s=timeout_s), self._second.check_health(timeout_s=timeout_s)
        )

    async def close(self) -> None:
        """Close both."""
        try:
            await self._first.close()
        finally:
            await self._second.close()


def _make_revision(first: LoadedDetector, second: LoadedDetector, band: Band) -> str:
    return make_revision(
        "cascade",
        {
            "first": [first.revision, first.threshold, sorted(first.categories)],
            "second": [second.revision, second.threshold, sorted(second.categories)],
            "band": [band.low, band.high],
            "rule": _RULE,
        },
    )


def _logit(score: float) -> float:
    return math.log(score) - math.log1p(-score)


def _sigmoid(logit: float) -> float:
    if logit >= 0.0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))
