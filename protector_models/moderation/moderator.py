"""The one path from events to verdicts; streaming, HTTP, backfill and evaluation differ only in what they pass in."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Self

from protector_models.moderation.answer_stage import AnswerStage
from protector_models.moderation.assess_stage import AssessStage
from protector_models.moderation.cached_detector import CachedDetector
from protector_models.moderation.conclusions import Decided, conclude
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.image_stage import EventImages, ImageStage
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.outages import MODEL_UNAVAILABLE, failing_closed, tell_open
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import (
    Detoxifier,
    HarmDetector,
    ImageReader,
    ImageSource,
    Metrics,
    ResponseGenerator,
    SecondOpinion,
    VerdictCache,
)
from protector_models.moderation.rewrite_progress import NOT_REWRITTEN, Rewriting, RewritingTask
from protector_models.moderation.rewriting import Rewriter
from protector_models.moderation.settling import settle, settling_together
from protector_models.moderation.shadow_policy import ShadowPolicy
from protector_models.moderation.stages import Stage, StageStatus
from protector_models.moderation.tenants import TenantCheck
from protector_models.moderation.verdict import Action, Failure, Outcome, PromptFinding, Verdict
from protector_models.moderation.wire.halving import in_stage

DEFAULT_MAX_IMAGES = 16
"""Images of one conversation that are looked at."""


class Moderator:
    """Moderates batches of events.

    Laws (held by tests): the outcome of an event does not depend on its neighbours; one poisoned event fails alone;
    equal exchanges are scored once; the same events under the same policy and model revisions give equal outcomes, but
    for `cached`.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        detector: HarmDetector,
        cache: VerdictCache,
        metrics: Metrics,
        detoxifier: Detoxifier | None = None,
        generator: ResponseGenerator | None = None,
        second_opinion: SecondOpinion | None = None,
        image_source: ImageSource | None = None,
        image_reader: ImageReader | None = None,
        max_images: int = DEFAULT_MAX_IMAGES,
        name_language: Callable[[str], str | None] | None = None,
        include_original: bool = False,
    ) -> None:
        """Put a moderator together.

        Args:
            policy: turns assessments into actions.
            detector: scores responses, and rewrites before they are released.
            cache: keeps what image reader, detector and detoxifier put out.
            metrics: counts outcomes.
            detoxifier: rewrites by the methods that need a model; without one these are left out.
            generator: answers events that have no response; without one such events fail.
            second_opinion: reads rewrites too, before they are released; without one the detector alone decides.
            image_source: fetches images; without one all are unread, and an MLLM gets their references as they came.
            image_reader: reads images that were fetched; without one all are unread, and an MLLM still gets the bytes.
            max_images: of one conversation that are looked at, the last ones; more are unread.
            name_language: gives the ISO 639 code of a text's language, None where that is not sure. Without it the
                policy's texts are delivered in its default language.
            include_original: whether verdicts carry the original of a response that is not delivered.
        """
        self._generator = generator
        self._metrics = metrics
        self._detector = CachedDetector(detector, cache=cache, metrics=metrics)
        self._take(policy, None)
        self._name_language = name_language
        self._include_original = include_original
        self._images = ImageStage(
            source=image_source, reader=image_reader, max_images=max_images, cache=cache, metrics=metrics
        )
        self._rewriter = Rewriter(
            detector=self._detector,
            detoxifier=detoxifier,
            cache=cache,
            metrics=metrics,
            second_opinion=second_opinion,
        )
        self._detoxifier = detoxifier
        self._second_opinion = second_opinion
        self._image_reader = image_reader

    def _take(self, policy: Policy, shadow: ShadowPolicy | None) -> None:
        self._policy = policy
        self._shadow = shadow
        self._tenants = TenantCheck(policy, metrics=self._metrics)
        self._answers = AnswerStage(generator=self._generator, policy=policy)
        self._assessing = AssessStage(
            detector=self._detector, answers=self._answers, policy=policy, metrics=self._metrics, shadow=shadow
        )

    @property
    def name_language(self) -> Callable[[str], str | None] | None:
        """Gives the language of a text, for the policy's own ones; None: it is not looked at."""
        return self._name_language

    @property
    def policy(self) -> Policy:
        """The policy that decides."""
        return self._policy

    def find_revision(self, model: str) -> str | None:
        """Return the "name@revision" of a model by the name that `Verdict.model_revisions` has for it; None: no such.

        An image reader that is loaded on demand is loaded for it.
        """
        models: Mapping[str, CachedDetector | Detoxifier | SecondOpinion | ResponseGenerator | ImageReader | None] = {
            "detector": self._detector,
            "detoxifier": self._detoxifier,
            "second_opinion": self._second_opinion,
            "mllm": self._generator,
            "images": self._image_reader,
        }
        found = models.get(model)
        return None if found is None else found.revision

    def under(self, policy: Policy, *, shadow_policy: Policy | None = None) -> Self:
        """Return a moderator with the same models and the same cache that decides by another policy.

        This one goes on with what it has, by its own policy; what either has decided both may rewrite.

        Args:
            policy: decides.
            shadow_policy: decides beside it, by the same assessments; verdicts say what, and nothing else changes.
        """
        moderator = copy(self)
        shadow = None if shadow_policy is None else ShadowPolicy(shadow_policy, shadow_policy.revision)
        moderator._take(policy, shadow)
        return moderator

    def in_shadow(self, *, judges_image_texts: bool = False) -> Self:
        """Return a moderator with the same models that decides and reports, and rewrites and withholds nothing.

        Its verdicts name the policy as this one's do: it is the same policy, but that everybody is in shadow.

        Args:
            judges_image_texts: whether what stands in images is judged with the response, not read as what led to it.
        """
        moderator = copy(self)
        moderator._answers = AnswerStage(
            generator=self._generator, policy=self._policy.in_shadow(), judges_image_texts=judges_image_texts
        )
        # Where that is so, nothing is a request.
        moderator._assessing = AssessStage(
            detector=self._detector,
            answers=moderator._answers,
            policy=self._policy,
            metrics=self._metrics,
            shadow=self._shadow,
            judges_prompts=not judges_image_texts,
        )
        return moderator

    async def moderate(self, events: Sequence[ConversationEvent]) -> list[Outcome]:
        """Moderate each event; the result has the length and order of `events`.

        Raises:
            DependencyError: a model is gone or late; nothing was decided, the batch may be tried again.
            UnforeseenError: a model or Weir itself has a fault that some event brings out; nothing was decided
                (`moderate_isolating` finds the event).
        """
        with settling_together():
            images, ends = await self._decide_all(events)
            rewritten = iter(await self._rewrite([end for end in ends if isinstance(end, Decided)]))
            outcomes = [next(rewritten) if isinstance(end, Decided) else end for end in ends]
            # Not before: a batch that raises is tried again, and would count twice.
            settle(partial(self._count_events, events, images))
            settle(partial(self._count, outcomes))
        return outcomes

    async def decide(self, events: Sequence[ConversationEvent]) -> list[Outcome | Decided]:
        """Decide each event; see `ModeratesInSteps`."""
        with settling_together():
            images, ends = await self._decide_all(events)
            settle(partial(self._count_events, events, images))
            settle(partial(self._count, [end for end in ends if not isinstance(end, Decided)]))
        return ends

    async def rewrite(self, decided: Sequence[Decided]) -> list[Outcome]:
        """Rewrite the responses of events that were decided; see `ModeratesInSteps`."""
        outcomes = await self._rewrite(decided)
        settle(partial(self._count, outcomes))
        return outcomes

    async def _decide_all(
        self, events: Sequence[ConversationEvent]
    ) -> tuple[list[EventImages], list[Outcome | Decided]]:
        """Return what became of the images of events that are not refused, and how each event ends or goes on."""
        refusals = [self._tenants.refuse(event) for event in events]
        admitted = [event for event, refusal in zip(events, refusals, strict=True) if refusal is None]
        with in_stage(Stage.IMAGES), failing_closed(self._metrics, "images", len(admitted)):
            images = await self._images.look_at(admitted)
        with in_stage(Stage.ASSESS):
            prompts = await self._assessing.judge_requests(admitted, images)
        kept = {position for position, prompt in prompts.items() if prompt.is_enforced}
        with in_stage(Stage.GENERATE), failing_closed(self._metrics, "mllm", len(admitted)):
            answers = await self._answers.answer(admitted, images, kept=kept)
        with in_stage(Stage.ASSESS):
            decided = iter(await self._assessing.decide(admitted, answers, prompts))
            reached = [next(decided) if refusal is None else refusal for refusal in refusals]
            return images, [end if isinstance(end, Failure) else self._end_or_go_on(end) for end in reached]

    def _end_or_go_on(self, item: Decided) -> Outcome | Decided:
        return item if _is_to_be_rewritten(item) else self._conclude(item, NOT_REWRITTEN)

    async def _rewrite(self, decided: Sequence[Decided]) -> list[Outcome]:
        with in_stage(Stage.REWRITE):
            rewritings = await self._rewriter.rewrite([self._rewriting_task(item) for item in decided])
            return [self._conclude(item, rewriting) for item, rewriting in zip(decided, rewritings, strict=True)]

    def _rewriting_task(self, item: Decided) -> RewritingTask:
        answered, assessment, name_language = item.answered, item.assessed.output, self._name_language
        assert isinstance(assessment, Assessment)  # see `_is_to_be_rewritten`
        exchange = answered.exchange
        return RewritingTask(
            exchange=exchange,
            assessment=assessment,
            category=item.decision.category,
            rules=answered.rules,
            has_response=not item.is_kept_from_mllm,
            completion=item.decision.completion,
            only_completes=item.decision.only_completes,
            language=name_language and (name_language(exchange.prompt) or name_language(exchange.response)),
        )

    def _conclude(self, item: Decided, rewriting: Rewriting) -> Outcome:
        return conclude(item, rewriting, include_original=self._include_original)

    def _count_events(self, events: Sequence[ConversationEvent], images: Sequence[EventImages]) -> None:
        self._tenants.count(events)
        self._images.count(images)
        self._answers.forget(events)

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        for action, number in Counter(item.action for item in outcomes if isinstance(item, Verdict)).items():
            self._metrics.count("weir_verdicts_total", number, action=action.value)
        unjudged = Counter(
            item.shadow_action or item.action
            for item in outcomes
            if isinstance(item, Verdict) and item.evaluation_status.assessment is StageStatus.FAILED
        )
        for action, number in unjudged.items():
            self._metrics.count("weir_failures_decided_by_policy_total", number, action=action.value)
        unanswered = [item for item in outcomes if isinstance(item, Failure) and item.error == MODEL_UNAVAILABLE]
        tell_open(self._metrics, "mllm", sum(item.stage is Stage.GENERATE for item in unanswered))
        shadowed = Counter(
            (_decided_action(item), item.shadow_policy.action)
            for item in outcomes
            if isinstance(item, Verdict) and item.shadow_policy is not None
        )
        for (live, shadow), number in shadowed.items():
            said = "none" if shadow is None else shadow.value
            self._metrics.count("weir_shadow_decisions_total", number, live=live.value, shadow=said)
        self._count_prompts([item.prompt for item in outcomes if isinstance(item, Verdict) and item.prompt is not None])
        failed = Counter((item.stage, item.error) for item in outcomes if isinstance(item, Failure))
        for (stage, error), number in failed.items():
            self._metrics.count("weir_failures_total", number, stage=stage.value, error=error)

    def _count_prompts(self, prompts: Sequence[PromptFinding]) -> None:
        found = Counter((prompt.action, prompt.status, prompt.enforced) for prompt in prompts)
        for (action, status, enforced), number in found.items():
            labels = {"action": "none" if action is None else action.value, "status": status.value}
            self._metrics.count("weir_prompts_total", number, **labels, enforced=str(enforced).lower())


def _decided_action(verdict: Verdict) -> Action:
    """Return what the rules asked for, also where no rewrite passed."""
    if verdict.evaluation_status.rewrite is StageStatus.FAILED:
        return Action.REWRITE
    return verdict.shadow_action or verdict.action


def _is_to_be_rewritten(item: Decided) -> bool:
    judged = isinstance(item.assessed.output, Assessment)
    return judged and item.decision.action is Action.REWRITE and not item.answered.rules.shadow
