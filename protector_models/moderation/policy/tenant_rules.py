"""The rules of one tenant: what is done about an assessment, how a response is rewritten, and with which texts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.outages import OnOutage
from protector_models.moderation.policy.image_rules import ImageRule, find_image_rule, has_known, has_unread
from protector_models.moderation.policy.needs import NeedRule
from protector_models.moderation.policy.rules import (
    Decision,
    PolicyModel,
    Rule,
    is_clear,
    is_more_severe,
    judge,
    more_severe,
)
from protector_models.moderation.policy.texts import (
    Language,
    PolicyText,
    SlotName,
    fill_in,
    find_used_slots,
    require_usable_texts,
)
from protector_models.moderation.verdict import Action, ImageFinding, RewriteMethod

DEFAULT = "default"
"""The key of what holds for categories that have no text, or no methods, of their own."""


def _require_complete_at_the_end(methods: tuple[RewriteMethod, ...]) -> tuple[RewriteMethod, ...]:
    if len(set(methods)) < len(methods) or methods[-1:] != (RewriteMethod.COMPLETE,):
        named = [method.value for method in methods]
        raise ValueError(
            f"expected each method at most once and {RewriteMethod.COMPLETE.value!r} at the end, got {named}"
        )
    return methods


RewriteMethods = Annotated[tuple[RewriteMethod, ...], AfterValidator(_require_complete_at_the_end)]
"""Ways of rewriting in order of preference; the policy's own text is the last one, always."""


def _complete_only() -> dict[str, RewriteMethods]:
    return {DEFAULT: (RewriteMethod.COMPLETE,)}


OmitShare = Annotated[float, Field(strict=True, gt=0, le=1)]
"""A share of a response's characters."""


Margin = Annotated[float, Field(strict=True, ge=0, lt=1)]
"""A share of a rule's threshold."""


_CERTAIN_SHARE = 0.5
"""Of the harmfulness from which on a category's score says that the harm is of that kind, whatever else it is."""
_LIKELY_SHARE = 0.3
"""Of the harmfulness that a category has to score in any case for its texts to be used."""
_CLOSE_SHARE = 0.8
"""Of a category's score from which on another one is as likely."""


PromptJudging = Literal["skip", "report", "enforce"]
"""What is done about the request."""


class TenantRules(PolicyModel):
    """Everything that may differ between tenants."""

    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    """Of the rules that apply, the most severe action wins: block, then review, then rewrite. Of equally severe ones a
    rule that names a category wins over "any", whichever score is higher; of several such the first."""
    rewrite_methods: dict[str, RewriteMethods] = Field(default_factory=_complete_only)
    """How responses are rewritten, by category, in order of preference; "default" must be there. Where nothing is said,
    nothing of a harmful response is kept."""
    omit_up_to: OmitShare = 0.5
    """`omit` applies where harmful sentences are at most this share of a response's characters."""
    omit_up_to_by_category: dict[str, OmitShare] = Field(default_factory=dict)
    """The same for single categories: beside an insult more may be worth keeping than beside a recipe for harm."""
    deliver_partial: bool = True
    """Whether anything of a harmful response may be delivered: without it `edit` and `omit` are passed over."""
    release_margin: Margin = 0.5
    """Each sentence that a rewrite keeps, or that a model wrote for it, is read by itself, and has to stay below every
    rule's threshold by this share of it."""
    suspect_margin: Margin = 0.7
    """The same of the other sentences in a response of at most five, one of which is an insult, a threat or hate; the
    larger one of both holds."""
    on_second_opinion: Literal["refuse", "deliver"] = "refuse"
    """What becomes of a rewrite that the detector lets pass, and a second one of another kind calls harmful or cannot
    judge. Both are counted."""
    omissions: dict[str, PolicyText] = Field(default_factory=dict)
    """What stands for sentences that were left out, by category; "default" must be there if `omit` is a method."""
    safe_completions: dict[str, PolicyText]
    """Texts delivered in place of a harmful response, by category; "default" must be there."""
    needs: tuple[NeedRule, ...] = ()
    """Whose words a person gets in whose last turns the detector finds a need; of those that apply the first counts.
    What an answer was found harmful as then no longer chooses the text."""
    slots: dict[SlotName, PolicyText] = Field(default_factory=dict)
    """What `{name}` in any of those texts stands for, by name."""
    default_language: Language = "en"
    """The language of texts for people whose language is not known, or has no text of its own."""
    on_unread_text: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] = Action.REVIEW
    """The least that is done where some text was not read by the detector."""
    on_unread_images: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] = Action.REVIEW
    """The least that is done where some image was not read."""
    on_unread_parts: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] = Action.REVIEW
    """The least that is done where the conversation has parts that nothing reads, such as audio or files."""
    on_known_image: Literal[Action.ALLOW, Action.REVIEW, Action.BLOCK] = Action.BLOCK
    """The least that is done where some image is on the list of known ones (`images.known`)."""
    image_rules: tuple[ImageRule, ...] = ()
    """What follows from the scores of an image classifier (`images.classifier`)."""
    on_failure: Literal["dead_letter", Action.ALLOW, Action.REVIEW, Action.BLOCK] = "dead_letter"
    """What follows where the detector failed on this one response. "allow" fails open: it delivers what nobody
    judged, and is counted. "review" holds it back."""
    on_detector_outage: OnOutage = "closed"
    """Where the detector is away for longer than it is waited for: "closed" delivers nothing, and asks again or refuses
    the call; "open" delivers what nobody judged, unless images or parts that nothing reads ask for more."""
    on_detoxifier_outage: OnOutage = "closed"
    """The same for the model that rewrites: "open" leaves out the methods that need it. What is delivered in place of a
    harmful response was judged, in the end the policy's text; a harmful response is never delivered."""
    on_mllm_outage: OnOutage = "closed"
    """The same for the MLLM, without which there is nothing to deliver: "open" lets an event without a response end as
    a failure, so that others need not wait behind it."""
    deliver_under_review: bool = False
    """Whether a response is delivered while it waits for review: one that was judged, and is there because of a rule or
    of an image. Never one that a rule wants rewritten or blocked, that the detector failed on (`on_failure`), or of
    whose text some was not read (`on_unread_text`)."""
    max_rewrite_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """How many tries there may be before the safe completion; no category may have more methods. Each method is tried
    once; `generate`, where it is the last before `complete`, again until so many tries were made."""
    judge_prompt: PromptJudging = "skip"
    """Whether the last user turn is judged as well, as a text by itself and by the same rules. "report": the verdict
    says what was found in it. "enforce": moreover, where the MLLM that is configured is to answer, it is not asked if
    the rules do not allow the request; what they ask for is done without it, a rewrite being the policy's own text. A
    response is judged in any case, and where it came with the event it alone decides."""
    shadow: bool = False
    """Decide and report, but deliver every response unchanged. An event that ends as a failure has no verdict to report
    and stays a dead letter."""

    @model_validator(mode="after")
    def _require_defaults(self) -> Self:
        _require_default(self.rewrite_methods, "rewrite_methods")
        _require_default(self.safe_completions, "safe_completions")
        if self.where_method_stands(RewriteMethod.OMIT):
            _require_default(self.omissions, "omissions")
        _require_tries_for_all(self.rewrite_methods, self.max_rewrite_attempts)
        for rule in self.needs:
            if rule.completion not in self.safe_completions:
                raise ValueError(
                    f"needs: expected a completion among {sorted(self.safe_completions)}, got {rule.completion!r}"
                )
        texts = {"safe_completions": self.safe_completions, "omissions": self.omissions}
        require_usable_texts(texts, self.slots, default_language=self.default_language)
        return self

    def decide(self, assessment: Assessment, images: Sequence[ImageFinding] = ()) -> Decision:
        """Return the most severe action that a rule, the images or the coverage ask for.

        Its category is that of the first of the rules that ask for the action and name one; where only rules of "any"
        ask for it, the category that scores highest. An image decides only what no text asks for as severely.
        """
        found = judge(assessment, self.rules)
        if images:
            found = self._judge_images(images, found)
        action, coverage = found.action, assessment.coverage
        if coverage.characters_evaluated < coverage.characters_total:
            action = more_severe(action, self.on_unread_text)
            if self.on_unread_text is not Action.ALLOW:
                found = replace(found, withheld=True)
        if coverage.images_evaluated < coverage.images_total or has_unread(images):
            action = more_severe(action, self.on_unread_images)
        if coverage.unread_parts:
            action = more_severe(action, self.on_unread_parts)
        return found if action is found.action else replace(found, action=action)

    def decide_without_assessment(
        self, images: Sequence[ImageFinding], *, has_unread_parts: bool = False, was_away: bool = False
    ) -> Decision:
        """Return what follows where the detector failed and the policy decides all the same (`on_failure`).

        What the images and the parts that nothing reads ask for is then still done.

        Args:
            images: of the conversation.
            has_unread_parts: whether it has some that nothing reads.
            was_away: whether the detector was away, and the policy goes on without it (`on_detector_outage`).
        """
        # With "dead_letter" the decision is never used: the event ends as a failure.
        on_failure = Action.BLOCK if self.on_failure == "dead_letter" else self.on_failure
        if was_away:
            on_failure = Action.ALLOW
        found = self._judge_images(images, Decision(action=on_failure, found=on_failure, category=None, withheld=True))
        action = more_severe(found.action, self.on_unread_images) if has_unread(images) else found.action
        if has_unread_parts:
            action = more_severe(action, self.on_unread_parts)
        return replace(found, action=action)

    def _judge_images(self, images: Sequence[ImageFinding], text: Decision) -> Decision:
        """Return what the images ask for where that is more severe than what the text does, else that."""
        decision = text
        rule = find_image_rule(images, self.image_rules)
        if rule is not None and is_more_severe(rule.action, decision.action):
            decision = replace(text, action=rule.action, found=rule.action, category=rule.category)
        if has_known(images) and is_more_severe(self.on_known_image, decision.action):
            decision = replace(decision, action=self.on_known_image, found=self.on_known_image)
        return decision

    def is_clear(self, assessment: Assessment, margin: float) -> bool:
        """Tell whether no rule comes nearer to what was assessed than by a share of its threshold."""
        return is_clear(assessment, self.rules, margin=margin)

    def methods(self, category: str | None) -> tuple[RewriteMethod, ...]:
        """Return how to rewrite a response that is harmful in `category`, in order of preference."""
        return self.rewrite_methods.get(category or DEFAULT, self.rewrite_methods[DEFAULT])

    def text_category(self, category: str | None, assessment: Assessment | None) -> str | None:
        """Return whose texts fit a response that is harmful in `category`: None, the default ones, if that is not sure.

        It is where a rule names the category, where most of the harm is of its kind, or where some of it is and no
        other category comes near.

        Args:
            category: what the rules say.
            assessment: of the response; None where there is none.
        """
        if category is None or assessment is None or any(rule.category == category for rule in self.rules):
            return category
        scores = assessment.categories
        score = scores.get(category)
        if score is None:
            return category
        rival = max((other for name, other in scores.items() if name != category), default=0.0)
        harmfulness = assessment.harmfulness
        is_likely = score >= _LIKELY_SHARE * harmfulness and rival <= _CLOSE_SHARE * score
        return category if is_likely or score >= _CERTAIN_SHARE * harmfulness else None

    def omit_share(self, category: str | None) -> float:
        """Return the largest share of a response's characters, harmful in `category`, that `omit` leaves out."""
        return self.omit_up_to_by_category.get(category or DEFAULT, self.omit_up_to)

    def where_method_stands(self, method: RewriteMethod) -> list[str]:
        """Return the categories whose methods have this one among them, sorted."""
        return sorted(category for category, methods in self.rewrite_methods.items() if method in methods)

    def safe_completion(self, category: str | None, language: str | None = None) -> str:
        """Return the text to deliver in place of a response that is harmful in `category`.

        Args:
            category: None is what has no category, and gets the default text.
            language: an ISO 639 code; None where it is not known.
        """
        return self._text(self.safe_completions, category, language)

    def omission(self, category: str | None, language: str | None = None) -> str:
        """Return the text that stands for sentences that were left out; arguments as in `safe_completion`."""
        return self._text(self.omissions, category, language)

    def used_slots(self) -> set[str]:
        """Return the slots that stand in some text."""
        return find_used_slots([*self.safe_completions.values(), *self.omissions.values()])

    def _text(self, texts: Mapping[str, PolicyText], category: str | None, language: str | None) -> str:
        text = texts.get(category or DEFAULT, texts[DEFAULT])
        return fill_in(text, language, self.slots, default_language=self.default_language)


def _require_default(by_category: Mapping[str, object], field: str) -> None:
    if DEFAULT not in by_category:
        raise ValueError(f"{field}: expected one named {DEFAULT!r}, got {sorted(by_category)}")


def _require_tries_for_all(by_category: Mapping[str, tuple[RewriteMethod, ...]], max_attempts: int) -> None:
    for category, methods in by_category.items():
        *before_complete, _ = methods
        if unreached := before_complete[max_attempts:]:
            named = ", ".join(repr(method.value) for method in unreached)
            raise ValueError(
                f"rewrite_methods.{category}: {named} would never be tried: expected at most max_rewrite_attempts "
                f"({max_attempts}) methods before {RewriteMethod.COMPLETE.value!r}, got {len(before_complete)}"
            )
