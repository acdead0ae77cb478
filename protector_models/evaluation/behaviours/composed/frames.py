"""A piece between a polite opening and a polite closing."""

from collections.abc import Iterator

from protector_models.evaluation.behaviours.behaviour_row import BehaviourRow
from protector_models.evaluation.behaviours.composed.material import Material

KIND = "frames"
ABOUT = "polite openings and closings around a harmful piece, and around a harmless one"


def compose(material: Material) -> Iterator[BehaviourRow]:
    """Yield the rows of a half: every piece in every frame."""
    for piece in material.pieces:
        for frame in material.frames:
            yield piece.to_row(KIND, frame.id, frame.around(piece.text), {"frame": frame.id})
