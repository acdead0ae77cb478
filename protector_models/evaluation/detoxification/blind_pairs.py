"""Rewrites of two rows side by side for reading, so that the reader cannot know which is which."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protector_models.evaluation.detoxification.pair_sets import ToxicText
from protector_models.records.labelled_records import RecordError

TSV_HEADER = "number\tsource\tfirst\tsecond\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindPair:
    """One text and its rewrites in random order."""

    source: str
    first: str
    second: str
    first_row: str
    """The row that wrote `first`; goes into the key, not beside the texts."""
    second_row: str

    def to_line(self, number: int) -> str:
        """Returns the line of a table with tabs between the fields; white space inside them is one space each."""
        fields = (" ".join(text.split()) for text in (self.source, self.first, self.second))
        return "\t".join([str(number), *fields]) + "\n"


def draw_blind_pairs(
    items: Sequence[ToxicText], outputs: Mapping[str, Sequence[str]], *, num_pairs: int, seed: int
) -> list[BlindPair]:
    """Draws texts on which two rows differ, and the order of the two; the same seed draws the same.

    Args:
        items: the texts.
        outputs: of exactly two rows, by name, each in the order of the items.
        num_pairs: how many are drawn.
        seed: of both draws.

    Raises:
        RecordError: the rows differ on fewer texts than that.
    """
    rng = random.Random(seed)
    (left, left_outputs), (right, right_outputs) = outputs.items()
    differing = [
        (item.source, ours, theirs)
        for item, ours, theirs in zip(items, left_outputs, right_outputs, strict=True)
        if ours.split() != theirs.split()
    ]
    if len(differing) < num_pairs:
        raise RecordError(f"{left} and {right} differ on {len(differing)} texts; expected {num_pairs} to draw from")
    drawn: list[BlindPair] = []
    for source, ours, theirs in rng.sample(differing, num_pairs):
        (first_row, first), (second_row, second) = rng.sample([(left, ours), (right, theirs)], 2)
        drawn.append(BlindPair(source=source, first=first, second=second, first_row=first_row, second_row=second_row))
    return drawn
