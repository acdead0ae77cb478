"""A piece in the spellings that the normal form of a text undoes."""

from collections.abc import Iterator

from protector_models.evaluation.behaviours.behaviour_row import BehaviourRow
from protector_models.evaluation.behaviours.composed.material import Material
from protector_models.evaluation.detector.perturbations import perturb

KIND = "disguises"
ABOUT = "harmful and harmless pieces in leetspeak, spaced letters, look-alike letters, with zero-width characters"

DISGUISES = ("leetspeak", "letter_spacing", "confusables", "zero_width", "fullwidth")


def compose(material: Material) -> Iterator[BehaviourRow]:
    """Yield the rows of a half: every piece in every disguise."""
    for piece in material.pieces:
        for disguise in DISGUISES:
            response = perturb(disguise, piece.text, piece.id)
            yield piece.to_row(KIND, disguise, response, {"disguise": disguise})
