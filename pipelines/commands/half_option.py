"""The option of commands that measure rows written for the project: which half of them."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from protector_models.evaluation.behaviours.behaviour_row import Half


class HalfChoice(StrEnum):
    """A half, or both."""

    DEVELOPMENT = "development"
    TEST = "test"
    ALL = "all"

    def to_half(self) -> "Half | None":
        """Return the half; None for both."""
        match self:
            case HalfChoice.DEVELOPMENT:
                return "development"
            case HalfChoice.TEST:
                return "test"
            case HalfChoice.ALL:
                return None


HalfOption = Annotated[HalfChoice, typer.Option(help="Which half; only `development` may choose anything.")]
