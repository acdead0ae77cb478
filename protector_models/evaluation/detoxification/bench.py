"""What an evaluation of a detoxifier works with: the models under measurement, and those that measure them."""

from collections.abc import Callable
from dataclasses import dataclass

from protector_models.detoxification.detoxifier import TextEditor
from protector_models.evaluation.detector.harness import Assesses
from protector_models.judges.shipped_judges import Judges
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import Moderates

ReportRows = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The models under measurement, and those that measure them."""

    editor: TextEditor
    moderator: Moderates
    detector: Assesses
    """The Moderator's detector, asked anew about what was released."""
    policy: Policy
    """The Moderator's."""
    judges: Judges
    clock: Callable[[], float]
    """Gives seconds."""
