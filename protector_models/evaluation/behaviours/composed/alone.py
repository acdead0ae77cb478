"""Every piece by itself: what retention compares with."""

from collections.abc import Iterator
from dataclasses import replace

from protector_models.evaluation.behaviours.behaviour_row import BehaviourRow
from protector_models.evaluation.behaviours.composed.material import ALONE, Material

KIND = ALONE
ABOUT = "the short pieces that other kinds put into company, by themselves"


def compose(material: Material) -> Iterator[BehaviourRow]:
    """Yield the rows of a half."""
    for piece in material.pieces:
        yield replace(piece.to_row(KIND, "", piece.text, {}), row_id=f"{ALONE}/{piece.id}", alone=None)
