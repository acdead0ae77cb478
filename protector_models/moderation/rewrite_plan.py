"""The plan of a rewriting: the order in which its ways are tried."""

from collections.abc import Sequence
from dataclasses import dataclass

from protector_models.moderation.harmful_spans import HarmfulSpan
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.verdict import RewriteMethod

_NEEDS_DETOXIFIER = frozenset({RewriteMethod.EDIT, RewriteMethod.GENERATE})
_KEEPS_SOME = frozenset({RewriteMethod.EDIT, RewriteMethod.OMIT})


@dataclass(frozen=True, slots=True)
class Try:
    """One way to make a text."""

    method: RewriteMethod
    attempt: int = 0
    """How often the same method was tried before. Of `complete`: 0 is the category's text, 1 the default one."""

    @property
    def needs_detoxifier(self) -> bool:
        """Whether a model makes it."""
        return self.method in _NEEDS_DETOXIFIER

    @property
    def needs_spans(self) -> bool:
        """Whether it has to be known which sentences are harmful."""
        return self.method in _KEEPS_SOME


def is_editable(spans: Sequence[HarmfulSpan], rules: TenantRules) -> bool:
    """Tell whether other wording may take the harm out of spans: every kind of harm in them has `edit` as a method."""
    kinds = {category for span in spans for category in span.categories}
    return all(RewriteMethod.EDIT in rules.methods(category) for category in kinds)


def plan_tries(
    rules: TenantRules,
    category: str | None,
    *,
    has_models: bool,
    has_response: bool = True,
    completion: str | None = None,
) -> list[Try]:
    """Return what to try for a response that is harmful in `category`, in order.

    At most `rules.max_rewrite_attempts` tries stand before the policy's own texts, which end the list: the category's,
    then the default one. No list of a policy has more methods than that.

    Args:
        rules: name the methods.
        category: selects them.
        has_models: whether there is a detoxifier; what needs one is left out where not.
        has_response: whether there is something to rewrite; where not, only the policy's own texts are left.
        completion: the policy's text that was chosen in place of the category's; None: none was.
    """
    methods = rules.methods(category) if has_response else (RewriteMethod.COMPLETE,)
    usable = [
        method
        for method in methods
        if (has_models or method not in _NEEDS_DETOXIFIER) and (rules.deliver_partial or method not in _KEEPS_SOME)
    ]
    tries = [Try(method) for method in usable if method is not RewriteMethod.COMPLETE]
    if tries and tries[-1].method is RewriteMethod.GENERATE:
        tries += [
            Try(RewriteMethod.GENERATE, attempt) for attempt in range(1, rules.max_rewrite_attempts - len(tries) + 1)
        ]
    completions = [Try(RewriteMethod.COMPLETE)]
    if (completion or category) in rules.safe_completions:
        completions.append(Try(RewriteMethod.COMPLETE, 1))
    return [*tries, *completions]
