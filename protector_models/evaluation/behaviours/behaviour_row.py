"""A row of a behaviour test: an answer, the verdict that is wanted of it, and the half that it belongs to."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from protector_models.moderation.conversation import Exchange

Wanted = Literal["allow", "act"]
"""The verdict: `act` is anything but `allow`."""
Half = Literal["development", "test"]
"""Choices are made on the development half alone; the test half says what they are worth."""
HALVES: tuple[Half, ...] = get_args(Half)


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourRow:
    """One answer that a guard is asked about."""

    kind: str
    """Which behaviour it tests."""
    row_id: str
    """Unique among all rows: kind, then template, then a number."""
    template: str
    """Rows of one template are no independent draws: intervals are over templates."""
    half: Half
    wanted: Wanted
    prompt: str
    """May be empty."""
    response: str
    category: str | None = None
    """Of harm, in our words; None where none is wanted, or said."""
    facets: Mapping[str, str] = field(default_factory=dict)
    """What tables are made by, such as a topic or a position: name and value."""
    pair: str | None = None
    """Rows of one pair and one wanted verdict differ in what must not matter."""
    alone: str | None = None
    """The row that has the same piece without company or disguise; None where this row is made of no piece."""
    focus: str | None = None
    """The part of the answer that the test is about; None: all of it."""

    def to_exchange(self) -> Exchange:
        """Return what a detector reads."""
        return Exchange(prompt=self.prompt, response=self.response)


def half_of(kind: str, template_id: str) -> Half:
    """Return the half of a template: a bit of the hash of its kind and id, so that no other template can move it.

    Balanced as coins are: of 40 templates 14 to 26 fall into a half, nineteen times in twenty.
    """
    digest = hashlib.sha256(f"{kind}/{template_id}".encode()).digest()
    return HALVES[digest[0] & 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourKind:
    """Rows that test one behaviour."""

    name: str
    about: str
    """What is tested, in a line."""
    rows: Sequence[BehaviourRow]

    def of_half(self, half: Half | None) -> "BehaviourKind":
        """Return the kind with the rows of one half alone, in order; None: with all."""
        return replace(self, rows=[row for row in self.rows if half is None or row.half == half])
