"""Texts that stand in for harmful responses: tried in the order of the policy, looked at before they are released."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from protector_models.moderation.cached_detector import CachedDetector
from protector_models.moderation.cached_outputs import CachedOutputs, ObtainedOutput
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fingerprint import exchange_fingerprint, rewrite_key
from protector_models.moderation.harmful_spans import HarmfulSpan, SpanSearch, find_harmful_spans
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.omission import omit
from protector_models.moderation.outages import Outage, failing_closed, require_open, tell_open
from protector_models.moderation.policy.rules import Decision
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Detoxifier, Metrics, RewriteRequest, Span, VerdictCache
from protector_models.moderation.rewrite_plan import Try, plan_tries
from protector_models.moderation.stages import Stage, StageStatus
from protector_models.moderation.verdict import Action, RewriteMethod
from protector_models.moderation.wire.halving import in_stage

_STILL_HARMFUL = "StillHarmful"
"""The detector finds something in what was made."""
_NOT_FULLY_READ = "NotFullyRead"
"""It finds nothing, but did not read all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewritingTask:
    """A response that shall be rewritten."""

    exchange: Exchange
    assessment: Assessment
    """Of the exchange; what the rules make of it is a rewrite."""
    category: str | None
    rules: TenantRules
    language: str | None
    """Of the policy's texts, an ISO 639 code; None where it is not known."""
    has_response: bool = True
    """False where the MLLM was not asked; the assessment is then the request's."""
    completion: str | None = None
    """The policy's text to end with, where what the person needs chose it; None: the category's."""
    only_completes: bool = False
    """Whether that text alone may stand in for the response."""

    @property
    def text(self) -> str | None:
        """The name of the policy's text to end with."""
        return self.completion or self.category


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriting:
    """How a rewriting ended."""

    text: str | None = None
    """What may be delivered; None where nothing was to be rewritten, or no text passed."""
    assessment: Assessment | None = None
    """Of that text; the rules allow it."""
    method: RewriteMethod | None = None
    refused_reason: str | None = None
    """Why the last text before was not released."""
    status: StageStatus
    verification: StageStatus
    detoxifier: str | None = None
    """The detoxifier that was asked last on the way, "name@revision"."""
    cached: bool
    """True if every model output on the way came from the cache."""


NOT_REWRITTEN = Rewriting(status=StageStatus.SKIPPED, verification=StageStatus.SKIPPED, cached=True)
"""Stands for a response that was not to be rewritten."""


@dataclass(slots=True, kw_only=True)
class _Progress:
    """How far the rewriting of one task is."""

    task: RewritingTask
    tries: list[Try]
    """Those that are left, the next one first."""
    spans: tuple[HarmfulSpan, ...] | ItemFailure | None = None
    """None until some try needs them."""
    refusals: list[tuple[RewriteMethod, str]]
    detoxifier: str | None = None
    """The one that was asked last."""
    cached: bool = True
    met_outage: bool = False
    """Whether the detoxifier was away."""
    released: Rewriting | None = None


class Rewriter:
    """Tries one method after the other until the detector finds nothing in what was made."""

    def __init__(
        self, *, detector: CachedDetector, detoxifier: Detoxifier | None, cache: VerdictCache, metrics: Metrics
    ) -> None:
        self._detector = detector
        self._detoxifier = detoxifier
        self._rewrites = CachedOutputs(
            kind="rewrite",
            model=Rewrite,
            key=_key,
            revision_of=lambda rewrite: rewrite.detoxifier,
            cache=cache,
            metrics=metrics,
        )
        self._metrics = metrics

    async def rewrite(self, tasks: Sequence[RewritingTask]) -> list[Rewriting]:
        """Rewrite each task's response; nothing is released that the detector did not read and the rules do not allow.

        Where models are just being replaced, one text may be written or read by the old one, the next by the new one.

        While the detoxifier is away, methods that need it are left out where the rules say so (`on_detoxifier_outage`).

        Raises:
            DependencyError: detoxifier or detector is gone or late; nothing is released.
        """
        has_models = self._detoxifier is not None
        progress = [
            _Progress(
                task=task,
                tries=[Try(RewriteMethod.COMPLETE)]
                if task.only_completes
                else plan_tries(
                    task.rules,
                    task.category,
                    has_models=has_models,
                    has_response=task.has_response,
                    completion=task.completion,
                ),
                refusals=[],
            )
            for task in tasks
        ]
        while pending := [one for one in progress if one.released is None and one.tries]:
            await self._try_next(pending)
        rewritings = [one.released or _give_up(one) for one in progress]
        # Only now: a batch that raises is tried again, and would count twice.
        self._count(progress)
        return rewritings

    async def _try_next(self, pending: Sequence[_Progress]) -> None:
        """Make the next try at each task."""
        tries = [one.tries.pop(0) for one in pending]
        with failing_closed(self._metrics, "detector", len(pending)):
            await self._find_spans(
                [one for one, trial in zip(pending, tries, strict=True) if trial.needs_spans and one.spans is None]
            )
        texts = await self._write(pending, tries)
        written = [position for position, text in enumerate(texts) if isinstance(text, str)]
        candidates = [
            pending[position].task.exchange.model_copy(update={"response": texts[position]}) for position in written
        ]
        with in_stage(Stage.VERIFY), failing_closed(self._metrics, "detector", len(pending)):
            assessed = dict(zip(written, await self._detector.assess(candidates), strict=True))
        for position, (one, trial, text) in enumerate(zip(pending, tries, texts, strict=True)):
            if isinstance(text, ItemFailure):
                one.refusals.append((trial.method, text.error))
                if isinstance(text, Outage):
                    one.met_outage = True
                    one.tries = [left for left in one.tries if not left.needs_detoxifier]
            else:
                _release_or_refuse(one, trial, text, assessed[position])

    async def _find_spans(self, lacking: Sequence[_Progress]) -> None:
        searches = [
            SpanSearch(exchange=one.task.exchange, whole=one.task.assessment, is_harmful=_Harmful(one.task.rules))
            for one in lacking
        ]
        for one, found in zip(lacking, await find_harmful_spans(searches, self._detector.assess), strict=True):
            one.spans = found.output
            one.cached = one.cached and found.cached

    async def _write(self, pending: Sequence[_Progress], tries: Sequence[Try]) -> list[str | ItemFailure]:
        """Return what each try makes."""
        texts = [_write_without_model(one, trial) for one, trial in zip(pending, tries, strict=True)]
        lacking = [position for position, text in enumerate(texts) if isinstance(text, RewriteRequest)]
        requests = [text for text in texts if isinstance(text, RewriteRequest)]
        made: list[str | ItemFailure] = []
        detoxifier = self._detoxifier
        if detoxifier is not None and requests:
            asked = detoxifier.revision
            with failing_closed(self._metrics, "detoxifier", len(requests)):
                rewrites = await self._rewrites.get_many(
                    requests, detoxifier.rewrite, revision=asked, notes_outages=True
                )
                on_outage = [pending[position].task.rules.on_detoxifier_outage for position in lacking]
                require_open((rewrite.output, on) for rewrite, on in zip(rewrites, on_outage, strict=True))
            for position, rewrite in zip(lacking, rewrites, strict=True):
                one, output = pending[position], rewrite.output
                one.cached = one.cached and rewrite.cached
                one.detoxifier = output.detoxifier if isinstance(output, Rewrite) else asked
                made.append(output.text if isinstance(output, Rewrite) else output)
        answers = iter(made)
        return [next(answers) if isinstance(text, RewriteRequest) else text for text in texts]

    def _count(self, progress: Sequence[_Progress]) -> None:
        refused = Counter(refusal for one in progress for refusal in one.refusals)
        for (method, reason), number in refused.items():
            self._metrics.count("weir_rewrites_refused_total", number, method=method.value, reason=reason)
        tell_open(self._metrics, "detoxifier", sum(one.met_outage for one in progress))
        released = Counter(one.released.method for one in progress if one.released is not None)
        for released_method, number in released.items():
            if released_method is not None:
                self._metrics.count("weir_rewrites_total", number, method=released_method.value)


def _key(revision: str, request: RewriteRequest) -> str:
    return rewrite_key(revision, request, exchange_fingerprint(request.exchange))


@dataclass(frozen=True, slots=True)
class _Harmful:
    """Tells whether rules find harm in something; what was not read is no harm."""

    rules: TenantRules

    def __call__(self, assessment: Assessment) -> bool:
        return self.rules.decide(assessment).found is not Action.ALLOW


def _write_without_model(one: _Progress, trial: Try) -> str | ItemFailure | RewriteRequest:
    """Return the text of a try that needs no model, else what to ask the detoxifier for."""
    task, spans = one.task, one.spans
    if trial.method is RewriteMethod.COMPLETE:
        return task.rules.safe_completion(None if trial.attempt else task.text, task.language)
    if trial.method is RewriteMethod.GENERATE:
        return RewriteRequest(
            exchange=task.exchange, method=RewriteMethod.GENERATE, category=task.category, attempt=trial.attempt
        )
    assert spans is not None  # they were looked for
    if isinstance(spans, ItemFailure):
        return spans
    if trial.method is RewriteMethod.OMIT:
        omission = task.rules.omission(task.category, task.language)
        return omit(task.exchange.response, spans, omission=omission, up_to=task.rules.omit_up_to)
    return RewriteRequest(
        exchange=task.exchange,
        method=RewriteMethod.EDIT,
        spans=tuple(Span(start=span.start, end=span.end) for span in spans),
        category=task.category,
    )


def _release_or_refuse(one: _Progress, trial: Try, text: str, assessed: ObtainedOutput[Assessment]) -> None:
    """Take a text that was made as the rewriting, if the rules allow what the detector says of it."""
    one.cached = one.cached and assessed.cached
    assessment = assessed.output
    if isinstance(assessment, ItemFailure):
        one.refusals.append((trial.method, assessment.error))
        return
    reason = why_not_released(one.task.rules.decide(assessment))
    if reason is not None:
        one.refusals.append((trial.method, reason))
        return
    one.released = Rewriting(
        text=text,
        assessment=assessment,
        method=trial.method,
        refused_reason=_last_reason(one),
        status=StageStatus.COMPLETE,
        verification=assessment.status(),
        detoxifier=one.detoxifier,
        cached=one.cached,
    )


def why_not_released(decision: Decision) -> str | None:
    """Return why a text of which the rules say this may not stand in for a response; None where it may."""
    if decision.action is Action.ALLOW:
        return None
    return _NOT_FULLY_READ if decision.found is Action.ALLOW else _STILL_HARMFUL


def _give_up(one: _Progress) -> Rewriting:
    return Rewriting(
        refused_reason=_last_reason(one),
        status=StageStatus.FAILED,
        verification=StageStatus.FAILED,
        detoxifier=one.detoxifier,
        cached=one.cached,
    )


def _last_reason(one: _Progress) -> str | None:
    return one.refusals[-1][1] if one.refusals else None
