"""Rules of a policy over what the person who writes may need: whose words they get, and when an answer is replaced."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from protector_models.moderation.model_outputs import Assessment, Score
from protector_models.moderation.policy.rules import Decision, PolicyModel, more_severe
from protector_models.moderation.verdict import Action


class NeedRule(PolicyModel):
    """Choose the words for a person from the score of a need on."""

    need: Annotated[str, Field(min_length=1)]
    """A need that the detector tells: "danger", "abuse", "grief" or "eating_disorder" with the one that ships."""
    threshold: Annotated[Score, Field(strict=True)]
    """The rule applies where one of the last user turns scores at least this."""
    completion: Annotated[str, Field(min_length=1)]
    """The text of `safe_completions` that stands in for an answer then, whatever the answer was found harmful as."""
    answer_threshold: Annotated[Score, Field(strict=True)] | None = None
    """From which harmfulness or carelessness on an answer gives way to the text, though no rule asks for it; nothing of
    it is kept, and no other text is used. None: the rule only chooses the text of what is rewritten anyway."""


def may_matter(rules: Sequence[NeedRule], decision: Decision, assessment: Assessment) -> bool:
    """Tell whether it has to be known what the person needs: whether something may follow from it.

    Args:
        rules: of the tenant.
        decision: what the other rules say of the answer.
        assessment: of the answer.
    """
    if decision.action is Action.BLOCK:
        return False
    floors = [rule.answer_threshold for rule in rules if rule.answer_threshold is not None]
    return bool(rules) and (decision.action is Action.REWRITE or (bool(floors) and assessment.failing() >= min(floors)))


def decide_for_person(
    rules: Sequence[NeedRule], decision: Decision, assessment: Assessment, needs: Mapping[str, float]
) -> Decision:
    """Return what follows for an answer to a person with these needs; of the rules that apply the first counts.

    Where what the answer itself was found harmful as has a text that some rule replaces answers by, as self-harm has,
    only such rules count: encouragement to self-harm is answered by no other words.

    Args:
        rules: of the tenant, in order.
        decision: what the other rules say of the answer.
        assessment: of the answer, or of what stands for it.
        needs: scores by name; a need that is not there scores 0.
    """
    if decision.action is Action.BLOCK:
        return decision
    urgent = {rule.completion for rule in rules if rule.answer_threshold is not None}
    for rule in rules:
        if needs.get(rule.need, 0.0) < rule.threshold:
            continue
        if rule.answer_threshold is not None and (
            decision.action is Action.REWRITE or assessment.failing() >= rule.answer_threshold
        ):
            action = more_severe(decision.action, Action.REWRITE)
            return replace(
                decision,
                action=action,
                found=more_severe(decision.found, Action.REWRITE),
                category=rule.completion if action is Action.REWRITE else decision.category,
                withheld=True,
                need=rule.need,
                completion=rule.completion,
                only_completes=True,
            )
        if rule.answer_threshold is None and decision.action is Action.REWRITE and decision.category not in urgent:
            return replace(decision, need=rule.need, completion=rule.completion)
    return decision


def choose_completion(rules: Sequence[NeedRule], category: str | None, needs: Mapping[str, float]) -> str | None:
    """Return the name of the text for a request that was found harmful as a category, and itself says needs."""
    if any(rule.completion == category and rule.answer_threshold is not None for rule in rules):
        return category
    return next((rule.completion for rule in rules if needs.get(rule.need, 0.0) >= rule.threshold), category)
