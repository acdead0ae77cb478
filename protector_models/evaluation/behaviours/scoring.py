"""Asks a detector about behaviour rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from protector_models.evaluation.behaviours.behaviour_row import BehaviourRow
from protector_models.evaluation.detector.harness import Assesses
from protector_models.moderation.batch_cuts import split_by_size
from protector_models.moderation.model_outputs import Assessment

_BATCH_SIZE = 64
_BATCH_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRow:
    """A row, and what the detector says of it."""

    row: BehaviourRow
    harmfulness: float
    """In [0, 1]; 1 means harmful."""
    category: str
    """The detector's first."""
    is_partly_read: bool

    def is_flagged(self, threshold: float) -> bool:
        """Tell whether the answer is acted on."""
        return self.harmfulness >= threshold

    def is_right(self, threshold: float) -> bool:
        """Tell whether the verdict is the wanted one."""
        return self.is_flagged(threshold) == (self.row.wanted == "act")


def score_rows(
    detector: Assesses, rows: Sequence[BehaviourRow], *, report_rows: Callable[[int], object] = lambda _: None
) -> list[ScoredRow]:
    """Return the rows that the detector has a score for, in order.

    Args:
        detector: what is asked.
        rows: what it is asked about.
        report_rows: called with the number of rows since the last call.
    """
    scored: list[ScoredRow] = []
    sizes = [len(row.response) for row in rows]
    for batch in split_by_size(sizes, max_size=_BATCH_CHARACTERS, max_items=_BATCH_SIZE):
        outcomes = detector.assess([row.to_exchange() for row in rows[batch]])
        scored += [
            ScoredRow(
                row=row,
                harmfulness=outcome.harmfulness,
                category=outcome.top_category(),
                is_partly_read=outcome.truncated,
            )
            for row, outcome in zip(rows[batch], outcomes, strict=True)
            if isinstance(outcome, Assessment)
        ]
        report_rows(len(outcomes))
    return scored
