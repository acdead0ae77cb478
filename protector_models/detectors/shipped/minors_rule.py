"""`sexual_minors` of the shipped detector: a rule over its other scores, not an output of the model.

It is what `sexual` is, where prompt or response mentions a minor (`reading.minor_mentions`), else 0. There is no data
of this kind, and none is written or collected: so its two parts are tested apart, and nothing is known of how well they
work together. A policy acts on it from a low score on, since both have to come together.

Of a conversation only what the detector sees counts: the last user turn, with the text in its images, and the response.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from protector_models.reading.minor_mentions import MINOR_MENTIONS

MINORS_RULE = f"sexual_minors is sexual where {MINOR_MENTIONS}"
"""Name of the rule; part of the detector's revision."""

SEXUAL_MINORS: Final = "sexual_minors"
MINORS_THRESHOLD = 0.15
"""From which score on it counts. No data may tell: it is low, because both parts have to come together."""

_SEXUAL: Final = "sexual"


def list_categories(trained: Sequence[str]) -> frozenset[str]:
    """Returns the categories that the detector scores: those of the model, and the rule's where it can apply."""
    return frozenset(trained) | ({SEXUAL_MINORS} if _SEXUAL in trained else frozenset())


def apply_minors_rule(categories: Mapping[str, float], *, mentions_minor: bool) -> dict[str, float]:
    """Returns a model's scores with the rule's beside them; without it where the model has no score for `sexual`.

    Args:
        categories: of an exchange or of a piece of its response.
        mentions_minor: whether prompt or response does.
    """
    if _SEXUAL not in categories:
        return dict(categories)
    return {**categories, SEXUAL_MINORS: categories[_SEXUAL] if mentions_minor else 0.0}
