"""Rewrites that are looked at again before they are released; where none passes, the policy's safe completion."""

from collections.abc import Sequence
from dataclasses import dataclass

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fingerprint import assessment_key, exchange_fingerprint, rewrite_key
from protector_models.moderation.policy import TenantRules
from protector_models.moderation.ports import Detoxifier, HarmDetector, Metrics, RewriteRequest, VerdictCache
from protector_models.moderation.recall import Recall, Recalled
from protector_models.moderation.verdict import Action, Assessment, ItemFailure, Rewrite, RewriteMethod, StageStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RewritingTask:
    """A response that shall be rewritten."""

    exchange: Exchange
    fingerprint: str
    category: str | None
    rules: TenantRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriting:
    """How a rewriting ended."""

    text: str | None
    """What may be delivered; None only where nothing was to be rewritten."""
    assessment: Assessment | None
    """Of the released rewrite; None where the safe completion stands in."""
    status: StageStatus
    verification: StageStatus
    cached: bool
    """True if every model output on the way came from the cache."""


NOT_REWRITTEN = Rewriting(
    text=None, assessment=None, status=StageStatus.SKIPPED, verification=StageStatus.SKIPPED, cached=True
)
"""Stands for a response that was not to be rewritten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One try at one task."""

    rewrite: Recalled[Rewrite]
    assessment: Recalled[Assessment] | None
    """None where there was nothing to assess."""


class Rewriter:
    """Asks the detoxifier, asks the detector about what it wrote, tries again, else takes the safe completion."""

    def __init__(
        self,
        *,
        detector: HarmDetector,
        assessments: Recall[Assessment],
        detoxifier: Detoxifier | None,
        cache: VerdictCache,
        metrics: Metrics,
    ) -> None:
        self._detector = detector
        self._assessments = assessments
        self._detoxifier = detoxifier
        self._rewrites = Recall(kind="rewrite", model=Rewrite, cache=cache, metrics=metrics)
        self._metrics = metrics

    async def rewrite(self, tasks: Sequence[RewritingTask]) -> list[Rewriting]:
        """Rewrite each task's response; nothing is released that the detector did not pass or the policy did not write.

        Raises:
            DependencyError: detoxifier or detector is gone or late; nothing is released.
        """
        if self._detoxifier is None:
            return [_fallback(task, StageStatus.SKIPPED, StageStatus.SKIPPED, cached=True) for task in tasks]
        attempts: list[list[_Attempt]] = [[] for _ in tasks]
        rewritings: list[Rewriting | None] = [None] * len(tasks)
        for attempt in range(max((task.rules.max_rewrite_attempts for task in tasks), default=0)):
            pending = [
                position
                for position, task in enumerate(tasks)
                if rewritings[position] is None and attempt < task.rules.max_rewrite_attempts
            ]
            tried = await self._try(self._detoxifier, [tasks[position] for position in pending], attempt)
            for position, outcome in zip(pending, tried, strict=True):
                attempts[position].append(outcome)
                rewritings[position] = self._release(tasks[position], attempts[position])
        return [
            _give_up(task, tries) if rewriting is None else rewriting
            for task, tries, rewriting in zip(tasks, attempts, rewritings, strict=True)
        ]

    async def _try(self, detoxifier: Detoxifier, tasks: Sequence[RewritingTask], attempt: int) -> list[_Attempt]:
        async def rewrite(positions: Sequence[int]) -> Sequence[Rewrite | ItemFailure]:
            return await detoxifier.rewrite([_request(tasks[position], attempt) for position in positions])

        keys = [rewrite_key(detoxifier.revision, _request(task, attempt), task.fingerprint) for task in tasks]
        rewrites = await self._rewrites.get_many(keys, rewrite)
        candidates = [
            task.exchange.model_copy(update={"response": rewrite.output.text})
            for task, rewrite in zip(tasks, rewrites, strict=True)
            if isinstance(rewrite.output, Rewrite)
        ]

        async def assess(positions: Sequence[int]) -> Sequence[Assessment | ItemFailure]:
            return await self._detector.assess([candidates[position] for position in positions])

        revision = self._detector.revision
        assessed = iter(
            await self._assessments.get_many(
                [assessment_key(revision, exchange_fingerprint(candidate)) for candidate in candidates], assess
            )
        )
        return [
            _Attempt(rewrite=rewrite, assessment=next(assessed) if isinstance(rewrite.output, Rewrite) else None)
            for rewrite in rewrites
        ]

    def _release(self, task: RewritingTask, attempts: Sequence[_Attempt]) -> Rewriting | None:
        """Return the last attempt as the rewriting if the rules allow it, else None."""
        last = attempts[-1]
        if last.assessment is None or not isinstance(last.rewrite.output, Rewrite):
            return None
        assessment = last.assessment.output
        if isinstance(assessment, ItemFailure) or task.rules.decide(assessment).action is not Action.ALLOW:
            self._metrics.count("weir_rewrites_refused_total")
            return None
        return Rewriting(
            text=last.rewrite.output.text,
            assessment=assessment,
            status=StageStatus.COMPLETE,
            verification=assessment.status(),
            cached=_all_cached(attempts),
        )


def _request(task: RewritingTask, attempt: int) -> RewriteRequest:
    return RewriteRequest(
        exchange=task.exchange,
        category=task.category,
        attempt=attempt,
        method=RewriteMethod.GENERATE,
    )


def _give_up(task: RewritingTask, attempts: Sequence[_Attempt]) -> Rewriting:
    written = any(attempt.assessment is not None for attempt in attempts)
    status = StageStatus.COMPLETE if written else StageStatus.FAILED
    verification = StageStatus.FAILED if written else StageStatus.SKIPPED
    return _fallback(task, status, verification, cached=_all_cached(attempts))


def _fallback(task: RewritingTask, status: StageStatus, verification: StageStatus, *, cached: bool) -> Rewriting:
    text = task.rules.safe_completion(task.category)
    return Rewriting(text=text, assessment=None, status=status, verification=verification, cached=cached)


def _all_cached(attempts: Sequence[_Attempt]) -> bool:
    return all(
        attempt.rewrite.cached and (attempt.assessment is None or attempt.assessment.cached) for attempt in attempts
    )
