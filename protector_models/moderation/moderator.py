"""The one path from events to verdicts; streaming, HTTP, backfill and evaluation differ only in what they pass in."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from pydantic import ValidationError

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.image_stage import EventImages, ImageStage
from protector_models.moderation.policy import Decision, Policy, TenantRules
from protector_models.moderation.ports import (
    Detoxifier,
    HarmDetector,
    ImageReader,
    ImageSource,
    Metrics,
    ResponseGenerator,
    VerdictCache,
)
from protector_models.moderation.recall import Recalled
from protector_models.moderation.recalled_detector import RecalledDetector
from protector_models.moderation.rewriting import NOT_REWRITTEN, Rewriter, Rewriting, RewritingTask
from protector_models.moderation.verdict import (
    Action,
    Assessment,
    EvaluationStatus,
    Failure,
    ItemFailure,
    Outcome,
    Stage,
    StageStatus,
    Verdict,
)

DEFAULT_MAX_IMAGES = 16
"""Images of one conversation that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """An event whose response is known."""

    exchange: Exchange
    images: EventImages
    generation: StageStatus
    rules: TenantRules


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """An answered event with its assessment and what the rules say of it."""

    answered: _Answered
    recalled: Recalled[Assessment]
    decision: Decision


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
            image_source: fetches images; without one all are unread, and an MLLM gets their references as they came.
            image_reader: reads images that were fetched; without one all are unread, and an MLLM still gets the bytes.
            max_images: of one conversation that are looked at, the last ones; more are unread.
            name_language: gives the ISO 639 code of a text's language, None where that is not sure. Without it the
                policy's texts are delivered in its default language.
            include_original: whether verdicts carry the original of a response that is not delivered.
        """
        self._policy = policy
        self._generator = generator
        self._metrics = metrics
        self._name_language = name_language
        self._include_original = include_original
        self._images = ImageStage(
            source=image_source, reader=image_reader, max_images=max_images, cache=cache, metrics=metrics
        )
        self._detector = RecalledDetector(detector, cache=cache, metrics=metrics)
        self._rewriter = Rewriter(detector=self._detector, detoxifier=detoxifier, cache=cache, metrics=metrics)
        self._detoxifier = detoxifier

    async def moderate(self, events: Sequence[ConversationEvent]) -> list[Outcome]:
        """Moderate each event; the result has the length and order of `events`.

        Raises:
            DependencyError: a model is gone or late; nothing was decided, the batch may be tried again.
        """
        images = await self._images.look_at(events)
        answers = await self._answer(events, images)
        answered = [answer for answer in answers if isinstance(answer, _Answered)]
        decided = await self._decide(answered)
        rewritings = await self._rewrite(decided)
        verdicts = iter(
            [self._conclude(item, rewriting) for item, rewriting in zip(decided, rewritings, strict=True)],
        )
        outcomes: list[Outcome] = [answer if isinstance(answer, Failure) else next(verdicts) for answer in answers]
        self._count(outcomes)
        # Only now: a batch that raises is tried again, and would count twice.
        self._images.count(images)
        return outcomes

    async def _answer(
        self, events: Sequence[ConversationEvent], images: Sequence[EventImages]
    ) -> list[_Answered | Failure]:
        """Let the MLLM answer the events that have no response, with the very images that were read."""
        unanswered = [
            position
            for position, event in enumerate(events)
            if event.response is None and images[position].missing is None
        ]
        generated: dict[int, str | ItemFailure] = {}
        if unanswered and self._generator is not None:
            asked = [images[position].shown_in(events[position]) for position in unanswered]
            generated = dict(zip(unanswered, await self._generator.generate(asked), strict=True))
        return [
            self._answered(event, seen, generated.get(position))
            for position, (event, seen) in enumerate(zip(events, images, strict=True))
        ]

    def _answered(
        self, event: ConversationEvent, images: EventImages, generated: str | ItemFailure | None
    ) -> _Answered | Failure:
        rules = self._policy.for_tenant(event.tenant)
        if event.response is not None:
            exchange = event.exchange(event.response, images.seen)
            return _Answered(exchange=exchange, images=images, generation=StageStatus.SKIPPED, rules=rules)
        if images.missing is not None:
            return Failure(stage=Stage.IMAGES, error=images.missing.error, message=images.missing.message)
        if isinstance(generated, ItemFailure):
            return Failure(stage=Stage.GENERATE, error=generated.error, message=generated.message)
        if generated is None:
            return Failure(
                stage=Stage.GENERATE,
                error="NoMllmConfigured",
                message="response is null: expected a response, or an MLLM in the configuration (mllm) to answer",
            )
        try:
            exchange = event.exchange(generated, images.seen)
        except ValidationError:
            message = "the MLLM's answer has no UTF-8 form: expected text without lone surrogates"
            return Failure(stage=Stage.GENERATE, error="InvalidText", message=message)
        return _Answered(exchange=exchange, images=images, generation=StageStatus.COMPLETE, rules=rules)

    async def _decide(self, answered: Sequence[_Answered]) -> list[_Decided]:
        recalled = await self._detector.assess([item.exchange for item in answered])
        return [
            _Decided(answered=item, recalled=found, decision=_decision(item, found.output))
            for item, found in zip(answered, recalled, strict=True)
        ]

    async def _rewrite(self, decided: Sequence[_Decided]) -> list[Rewriting]:
        """Rewrite what shall be rewritten; everything else is `NOT_REWRITTEN`."""
        tasks = [self._rewriting_task(item) for item in decided]
        rewritings = iter(await self._rewriter.rewrite([task for task in tasks if task is not None]))
        return [NOT_REWRITTEN if task is None else next(rewritings) for task in tasks]

    def _rewriting_task(self, item: _Decided) -> RewritingTask | None:
        answered, assessment = item.answered, item.recalled.output
        if item.decision.action is not Action.REWRITE or answered.rules.shadow or isinstance(assessment, ItemFailure):
            return None
        exchange, name_language = answered.exchange, self._name_language
        return RewritingTask(
            exchange=exchange,
            assessment=assessment,
            category=item.decision.category,
            rules=answered.rules,
            language=name_language and (name_language(exchange.prompt) or name_language(exchange.response)),
        )

    def _conclude(self, item: _Decided, rewriting: Rewriting) -> Outcome:
        output, rules = item.recalled.output, item.answered.rules
        action = Action.REVIEW if rewriting.status is StageStatus.FAILED else item.decision.action
        if isinstance(output, ItemFailure):
            if rules.on_failure == "dead_letter":
                return Failure(stage=Stage.ASSESS, error=output.error, message=output.message)
            self._metrics.count("weir_failures_decided_by_policy_total", action=action.value)
        delivered_action = Action.ALLOW if rules.shadow else action
        original = item.answered.exchange.response
        response = _deliverable(delivered_action, item.decision, original, rewriting, rules)
        return Verdict(
            action=delivered_action,
            category=item.decision.category,
            response=response,
            original_response=original if self._include_original and response != original else None,
            assessment=None if isinstance(output, ItemFailure) else output,
            rewrite_assessment=rewriting.assessment,
            rewrite_method=rewriting.method,
            rewrite_refused_reason=rewriting.refused_reason,
            images=item.answered.images.findings,
            evaluation_status=_evaluation_status(
                item.answered.images.status,
                item.answered.generation,
                StageStatus.FAILED if isinstance(output, ItemFailure) else output.status(),
                rewriting.status,
                rewriting.verification,
            ),
            shadow_action=action if rules.shadow else None,
            policy_version=self._policy.version,
            model_revisions=self._revisions_of(item, rewriting),
            cached=item.recalled.cached
            and rewriting.cached
            and item.answered.images.cached
            and item.answered.generation is StageStatus.SKIPPED,
        )

    def _revisions_of(self, item: _Decided, rewriting: Rewriting) -> dict[str, str]:
        # Asked each time: a model behind a deployment gets a new revision while this runs.
        revisions = {"detector": self._detector.revision}
        if item.answered.images.reader is not None:
            revisions["images"] = item.answered.images.reader
        if rewriting.detoxifier_asked and self._detoxifier is not None:
            revisions["detoxifier"] = self._detoxifier.revision
        if item.answered.generation is StageStatus.COMPLETE and self._generator is not None:
            revisions["mllm"] = self._generator.revision
        return revisions

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        for action, number in Counter(item.action for item in outcomes if isinstance(item, Verdict)).items():
            self._metrics.count("weir_verdicts_total", number, action=action.value)
        failed = Counter((item.stage, item.error) for item in outcomes if isinstance(item, Failure))
        for (stage, error), number in failed.items():
            self._metrics.count("weir_failures_total", number, stage=stage.value, error=error)


@cache
def _evaluation_status(
    images: StageStatus,
    generation: StageStatus,
    assessment: StageStatus,
    rewrite: StageStatus,
    verification: StageStatus,
) -> EvaluationStatus:
    """Return one of the few there are; making each anew is a tenth of what a cached verdict costs."""
    return EvaluationStatus(
        images=images, generation=generation, assessment=assessment, rewrite=rewrite, verification=verification
    )


def _decision(answered: _Answered, output: Assessment | ItemFailure) -> Decision:
    if isinstance(output, Assessment):
        return answered.rules.decide(output, answered.images.findings)
    return answered.rules.decide_without_assessment(answered.images.findings)


def _deliverable(
    action: Action, decision: Decision, original: str, rewriting: Rewriting, rules: TenantRules
) -> str | None:
    match action:
        case Action.ALLOW:
            return original
        case Action.REWRITE:
            return rewriting.text
        case Action.REVIEW:
            return original if rules.deliver_under_review and not decision.withheld else None
        case Action.BLOCK:
            return None
