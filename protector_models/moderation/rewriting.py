"""Texts that stand in for harmful responses: tried in the order of the policy, looked at before they are released."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from protector_models.moderation.cached_detector import CachedDetector
from protector_models.moderation.cached_outputs import CachedOutputs
from protector_models.moderation.fingerprint import exchange_fingerprint, rewrite_key
from protector_models.moderation.harmful_spans import SpanSearch, find_harmful_spans
from protector_models.moderation.kept_sentences import KeptSearch, find_doubtful_spans
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.outages import Outage, failing_closed, require_open, tell_open
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Detoxifier, Metrics, RewriteRequest, SecondOpinion, VerdictCache
from protector_models.moderation.release_check import ReleaseCheck
from protector_models.moderation.rewrite_plan import Try, plan_tries
from protector_models.moderation.rewrite_progress import RewriteProgress, Rewriting, RewritingTask
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Action, RewriteMethod
from protector_models.moderation.wire.halving import in_stage


class Rewriter:
    """Tries one method after the other until the detector finds nothing in what was made."""

    def __init__(
        self,
        *,
        detector: CachedDetector,
        detoxifier: Detoxifier | None,
        cache: VerdictCache,
        metrics: Metrics,
        second_opinion: SecondOpinion | None = None,
    ) -> None:
        self._detector = detector
        self._release = ReleaseCheck(detector, second_opinion)
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
            RewriteProgress(
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
            )
            for task in tasks
        ]
        while pending := [one for one in progress if one.released is None and one.tries]:
            await self._try_next(pending)
        rewritings = [one.end() for one in progress]
        # Only now: a batch that raises is tried again, and would count twice.
        self._count(progress)
        return rewritings

    async def _try_next(self, pending: Sequence[RewriteProgress]) -> None:
        """Make the next try at each task."""
        tries = [one.tries.pop(0) for one in pending]
        with failing_closed(self._metrics, "detector", len(pending)):
            await self._find_spans(
                [one for one, trial in zip(pending, tries, strict=True) if trial.needs_spans and one.spans is None]
            )
        texts = await self._write(pending, tries)
        written = {place: text for place, text in enumerate(texts) if isinstance(text, str)}
        candidates = await off_loop(
            sum(map(len, written.values())),
            lambda: [pending[place].as_candidate(tries[place], text) for place, text in written.items()],
        )
        with in_stage(Stage.VERIFY), failing_closed(self._metrics, "detector", len(pending)):
            checked = dict(zip(written, await self._release.check(candidates), strict=True))
        for place, (one, trial, text) in enumerate(zip(pending, tries, texts, strict=True)):
            if isinstance(text, ItemFailure):
                one.refusals.append((trial.method, text.error))
                if isinstance(text, Outage):
                    one.met_outage = True
                    one.tries = [left for left in one.tries if not left.needs_detoxifier]
            else:
                one.conclude(trial, text, checked[place])

    async def _find_spans(self, lacking: Sequence[RewriteProgress]) -> None:
        searches = [
            SpanSearch(exchange=one.task.exchange, whole=one.task.assessment, is_harmful=_Harmful(one.task.rules))
            for one in lacking
        ]
        for one, harmful in zip(lacking, await find_harmful_spans(searches, self._detector.assess), strict=True):
            one.spans = harmful.output
            one.cached = one.cached and harmful.cached
        keeping = [(one, one.spans) for one in lacking if isinstance(one.spans, tuple) and one.may_keep_some()]
        kept = [KeptSearch(exchange=one.task.exchange, harmful=spans, rules=one.task.rules) for one, spans in keeping]
        for (one, _), doubtful in zip(keeping, await find_doubtful_spans(kept, self._detector.assess), strict=True):
            one.doubtful = doubtful.spans
            one.cached = one.cached and doubtful.cached

    async def _write(self, pending: Sequence[RewriteProgress], tries: Sequence[Try]) -> list[str | ItemFailure]:
        """Return what each try makes."""
        texts = [one.write(trial) for one, trial in zip(pending, tries, strict=True)]
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

    def _count(self, progress: Sequence[RewriteProgress]) -> None:
        refused = Counter(refusal for one in progress for refusal in one.refusals)
        for (method, reason), number in refused.items():
            self._metrics.count("weir_rewrites_refused_total", number, method=method.value, reason=reason)
        tell_open(self._metrics, "detoxifier", sum(one.met_outage for one in progress))
        released = Counter(one.released.method for one in progress if one.released is not None)
        for released_method, number in released.items():
            if released_method is not None:
                self._metrics.count("weir_rewrites_total", number, method=released_method.value)
        opinions = Counter(opinion for one in progress for opinion in one.opinions)
        for said, number in opinions.items():
            self._metrics.count("weir_second_opinions_total", number, opinion=said)


def _key(revision: str, request: RewriteRequest) -> str:
    return rewrite_key(revision, request, exchange_fingerprint(request.exchange))


@dataclass(frozen=True, slots=True)
class _Harmful:
    """Tells whether rules find harm in something; what was not read is no harm."""

    rules: TenantRules

    def __call__(self, assessment: Assessment) -> bool:
        return self.rules.decide(assessment).found is not Action.ALLOW
