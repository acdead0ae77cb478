"""Rules of a policy over images themselves: known ones, and those in which an image classifier finds something."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from protector_models.moderation.model_outputs import Score
from protector_models.moderation.verdict import Action, ImageFinding, ImageStatus


class ImageRule(BaseModel):
    """Take an action from a score of the image classifier on. An image cannot be rewritten."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: Annotated[str, Field(min_length=1)]
    """A category of the image classifier."""
    threshold: Annotated[Score, Field(strict=True)]
    """The rule applies where some image's score is at least this."""
    action: Literal[Action.REVIEW, Action.BLOCK]


def find_image_rule(images: Sequence[ImageFinding], rules: Sequence[ImageRule]) -> ImageRule | None:
    """Return the rule that applies to some image; of several the first that blocks, else the first."""
    applied = [
        rule for rule in rules if any(image.categories.get(rule.category, 0.0) >= rule.threshold for image in images)
    ]
    return next((rule for rule in applied if rule.action is Action.BLOCK), applied[0] if applied else None)


def has_known(images: Sequence[ImageFinding]) -> bool:
    """Tell whether some image is on the list of known ones."""
    return any(image.known_as is not None for image in images)


def has_unread(images: Sequence[ImageFinding]) -> bool:
    """Tell whether some image was not read."""
    return any(image.status is ImageStatus.UNREAD for image in images)
