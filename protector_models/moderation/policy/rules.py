"""What the rules of a policy say of an assessment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from protector_models.moderation.model_outputs import UNSPECIFIED, Assessment, Score
from protector_models.moderation.verdict import Action

ANY_CATEGORY = "any"
"""A rule's category that stands for the overall harmfulness."""

GENERAL_CATEGORIES = frozenset({ANY_CATEGORY, UNSPECIFIED})
"""Those of rules that see harm of which the detector names no category."""

_SEVERITY = {action: rank for rank, action in enumerate(Action)}


class PolicyModel(BaseModel):
    """A part of a policy: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(PolicyModel):
    """Take an action from a score on."""

    category: str = ANY_CATEGORY
    """A category of the detector, "any" for the overall harmfulness, or "unspecified" for harm of no category.

    What "unspecified" scores is the overall harmfulness where the detector does not say what harm it is (no category
    scores more than the others), else 0."""
    threshold: Annotated[Score, Field(strict=True)]
    """The rule applies where the score is at least this."""
    action: Literal[Action.REWRITE, Action.REVIEW, Action.BLOCK]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the rules say of one assessment and of the images beside it."""

    action: Action
    found: Action
    """What the rules and the list of known images alone ask for; `action` is more severe where something was not read,
    or where the detector failed."""
    category: str | None
    """The category to tell the reader of, and to choose a safe text by. None where the action is ALLOW."""
    withheld: bool = False
    """Whether the response is held back under review, whatever `deliver_under_review` says: some rule wants it
    rewritten or blocked, though another asks for more, or it was not judged as a whole."""
    need: str | None = None
    """What the person who writes needs, where that chose the text."""
    completion: str | None = None
    """The text of the policy that was chosen for it; None: that of the category."""
    only_completes: bool = False
    """Whether that text alone may stand in for the response."""


def judge(assessment: Assessment, rules: Sequence[Rule]) -> Decision:
    """Return what rules ask for; of several that apply the most severe action wins, as `TenantRules.rules` says."""
    applied: Rule | None = None
    withheld = False
    for rule in rules:
        if _score(assessment, rule.category) >= rule.threshold:
            withheld = withheld or rule.action is not Action.REVIEW
            if applied is None or _outdoes(rule, applied):
                applied = rule
    action = Action.ALLOW if applied is None else applied.action
    category = None if applied is None else applied.category
    if category == ANY_CATEGORY:
        category = assessment.top_category()
    return Decision(action=action, found=action, category=category, withheld=withheld)


def is_clear(assessment: Assessment, rules: Sequence[Rule], *, margin: float) -> bool:
    """Tell whether no rule comes near to what was assessed.

    Args:
        assessment: of anything.
        rules: of any actions.
        margin: share of its threshold by which a score has to stay below it, in [0, 1).
    """
    return all(_score(assessment, rule.category) < rule.threshold * (1.0 - margin) for rule in rules)


def more_severe(left: Action, right: Action) -> Action:
    """Return the more severe of two actions; the left one where they are equal."""
    return left if _SEVERITY[left] >= _SEVERITY[right] else right


def is_more_severe(action: Action, other: Action) -> bool:
    """Tell whether an action is more severe than another, and not the same."""
    return _SEVERITY[action] > _SEVERITY[other]


def _score(assessment: Assessment, category: str) -> float:
    """Return the score a rule looks at; a category that the detector does not know scores 0."""
    if category == ANY_CATEGORY:
        return assessment.harmfulness
    if category == UNSPECIFIED:
        return assessment.harmfulness if assessment.top_category() == UNSPECIFIED else 0.0
    return assessment.categories.get(category, 0.0)


def _outdoes(rule: Rule, other: Rule) -> bool:
    """Tell whether a rule wins over one that stands before it, both of them applying."""
    if rule.action is not other.action:
        return is_more_severe(rule.action, other.action)
    return other.category == ANY_CATEGORY and rule.category != ANY_CATEGORY
