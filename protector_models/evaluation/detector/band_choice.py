"""Choosing the band of a cascade on held-out data: as little as possible goes to the second detector.

Shapes: N rows that the second detector has a score for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from protector_models.detectors.cascade import Alignment, Band
from protector_models.evaluation.metrics import Labels, Scores, auroc, f1_at
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.stages import StageStatus

BAND_RULE = (
    "the band around the first detector's threshold that sends the fewest held-out answers on, among those under which "
    "the cascade's AUROC and its F1 at the threshold are at most max_loss below those of the second detector alone"
)

_NUM_CANDIDATES = 48
_STEPS = 1_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What two detectors say of the same rows; three lists of one length, none of the second's a failure."""

    labels: Sequence[bool]
    first: Sequence[Assessment | ItemFailure]
    second: Sequence[Assessment]


@dataclass(frozen=True, slots=True, kw_only=True)
class BandChoice:
    """A band and what it does on the rows that it was chosen on."""

    band: Band
    num_rows: int
    share_sent_on: float
    auroc: float
    f1: float
    second_auroc: float
    second_f1: float


def choose_band(outcomes: Outcomes, alignment: Alignment, *, max_loss: float) -> BandChoice:
    """Returns the band by `BAND_RULE`; ends lie on quantiles of the first detector's scores, in three decimals.

    Args:
        outcomes: of held-out rows.
        alignment: the thresholds of the two.
        max_loss: in points of 1, at least 0: 0.005 is half a point. The band that holds everything loses nothing.

    Raises:
        ValueError: the rows are not of both labels, or `max_loss` is negative.
    """
    if max_loss < 0.0:
        raise ValueError(f"max_loss: expected at least 0, got {max_loss:g}")
    scored = ScoredTwice.of(outcomes, alignment)
    num_harmful = int(scored.labels_N.sum())
    if num_harmful in (0, len(scored.labels_N)):
        raise ValueError(f"expected held-out rows of both labels, got {num_harmful} harmful of {len(scored.labels_N)}")
    second_auroc, second_f1 = _rank_and_decide(scored, scored.second_N, alignment)
    choices: list[BandChoice] = []
    # Bands that send the same rows on have the same figures.
    figures: dict[bytes, tuple[float, float]] = {}
    for band in _list_bands(scored, alignment):
        sent_N = scored.find_sent(band)
        sent = sent_N.tobytes()
        if sent not in figures:
            figures[sent] = _rank_and_decide(scored, scored.merge(sent_N), alignment)
        found_auroc, found_f1 = figures[sent]
        if found_auroc >= second_auroc - max_loss and found_f1 >= second_f1 - max_loss:
            choice = BandChoice(
                band=band,
                num_rows=len(sent_N),
                share_sent_on=float(sent_N.mean()),
                auroc=found_auroc,
                f1=found_f1,
                second_auroc=second_auroc,
                second_f1=second_f1,
            )
            choices.append(choice)
    # The band that holds everything is among them.
    return min(choices, key=lambda choice: (choice.share_sent_on, -choice.f1, choice.band.low, choice.band.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTwice:
    """Rows with the scores of both detectors."""

    labels_N: Labels
    first_N: Scores
    """On the first detector's own scale; NaN where it can settle nothing: no score, or not read in full."""
    shifted_N: Scores
    """The same on the second's scale."""
    second_N: Scores

    @classmethod
    def of(cls, outcomes: Outcomes, alignment: Alignment) -> Self:
        """Takes the scores out of the outcomes."""
        first = [
            outcome.harmfulness
            if isinstance(outcome, Assessment) and outcome.status() is StageStatus.COMPLETE
            else math.nan
            for outcome in outcomes.first
        ]
        return cls(
            labels_N=np.array(outcomes.labels, dtype=np.bool_),
            first_N=np.array(first),
            shifted_N=np.array([score if math.isnan(score) else alignment.shift(score) for score in first]),
            second_N=np.array([outcome.harmfulness for outcome in outcomes.second]),
        )

    def find_sent(self, band: Band) -> Labels:
        """Tells of each row whether it goes to the second detector, as `Band.settles` does."""
        # Written so that a comparison with NaN sends on.
        settled_N: Labels = (self.first_N < band.low) | (self.first_N > band.high)
        return ~settled_N

    def merge(self, sent_N: Labels) -> Scores:
        """Returns the scores of the cascade."""
        merged_N: Scores = np.where(sent_N, self.second_N, self.shifted_N)
        return merged_N


def _list_bands(scored: ScoredTwice, alignment: Alignment) -> list[Band]:
    scores, threshold = scored.first_N[~np.isnan(scored.first_N)], alignment.first_threshold
    lows, highs = {0.0, threshold}, {threshold, 1.0}
    parts = np.linspace(0.0, 1.0, _NUM_CANDIDATES)
    if (below := scores[scores < threshold]).size:
        lows.update((np.floor(np.quantile(below, parts) * _STEPS) / _STEPS).tolist())
    if (above := scores[scores > threshold]).size:
        highs.update((np.ceil(np.quantile(above, parts) * _STEPS) / _STEPS).tolist())
    return [Band(low=low, high=high) for low in sorted(lows) for high in sorted(highs)]


def _rank_and_decide(scored: ScoredTwice, scores_N: Scores, alignment: Alignment) -> tuple[float, float]:
    """Returns AUROC and F1 at the threshold."""
    ranked = auroc(scored.labels_N, scores_N)
    decided = f1_at(scored.labels_N, scores_N, alignment.second_threshold)
    assert ranked is not None, "both labels are there"
    assert decided is not None, "both labels are there"
    return ranked, decided
