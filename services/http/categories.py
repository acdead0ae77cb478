"""OpenAI's thirteen categories of moderation, and which of Weir's each is."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAiCategory:
    """One of the thirteen."""

    ours: str | None
    """The category of Weir's that it is; None: no detector predicts it, and its score is 0."""
    takes_images: bool = False
    """Whether OpenAI's clients expect "image" among its input types."""


OPENAI_CATEGORIES: Mapping[str, OpenAiCategory] = {
    "harassment": OpenAiCategory(ours="harassment"),
    "harassment/threatening": OpenAiCategory(ours=None),
    "hate": OpenAiCategory(ours="hate"),
    "hate/threatening": OpenAiCategory(ours=None),
    "illicit": OpenAiCategory(ours="illicit"),
    "illicit/violent": OpenAiCategory(ours=None),
    "self-harm": OpenAiCategory(ours="self_harm", takes_images=True),
    "self-harm/intent": OpenAiCategory(ours=None, takes_images=True),
    "self-harm/instructions": OpenAiCategory(ours=None, takes_images=True),
    "sexual": OpenAiCategory(ours="sexual", takes_images=True),
    "sexual/minors": OpenAiCategory(ours="sexual_minors"),
    "violence": OpenAiCategory(ours="violence", takes_images=True),
    "violence/graphic": OpenAiCategory(ours=None, takes_images=True),
}
"""In OpenAI's order."""

OWN_CATEGORIES = ("privacy", "deception", "unsafe_advice")
"""Those of Weir's that are none of the thirteen: they stand beside them, in every result."""

_NAMED = frozenset(category.ours for category in OPENAI_CATEGORIES.values())


def categories_beside(known: Mapping[str, float]) -> list[str]:
    """Return the categories that stand beside the thirteen: Weir's own, then others that a detector knows."""
    taken = {*_NAMED, *OPENAI_CATEGORIES, *OWN_CATEGORIES}
    return [*OWN_CATEGORIES, *sorted(name for name in known if name not in taken)]
