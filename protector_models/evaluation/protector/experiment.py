"""Runs trials through a Moderator, and has the answers judged before and after."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from protector_models.evaluation.protector.answer_judges import AnswerJudge, require_other
from protector_models.evaluation.protector.trial_results import MemoryResults, TrialResult
from protector_models.evaluation.protector.trials import Trial, TrialSet
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.messages.message import ContentPart, ImagePart, ImageUrl, TextPart
from protector_models.moderation.one_turn import make_turn
from protector_models.moderation.ports import Moderates
from protector_models.moderation.verdict import Failure, Verdict

TENANT = "default"
_BATCH_SIZE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """A trial that ended with a verdict."""

    trial: Trial
    verdict: Verdict
    before: Exchange
    after: Exchange | None
    """None where nothing is delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What is measured, and who judges."""

    moderator: Moderates
    """Has to give the original response with its verdicts."""
    judge: AnswerJudge
    results: MemoryResults

    async def run(self, found: TrialSet, *, report_trials: Callable[[int], None]) -> list[TrialResult]:
        """Runs the trials of a set that have no result yet, in batches; each batch is kept when it is done.

        Args:
            found: the trials.
            report_trials: called with the number of trials since the last call.

        Returns:
            The result of each trial, in order.

        Raises:
            ConfigurationError: the judge turns out to be the detector under test.
            DependencyError: a model is gone or late; what was done before is kept.
        """
        pending = [trial for trial in found.trials if self.results.get(found.name, trial) is None]
        report_trials(len(found.trials) - len(pending))
        for batch in split_by_count(pending, _BATCH_SIZE):
            self.results.add(await self._run_batch(found.name, batch))
            report_trials(len(batch))
        results = [self.results.get(found.name, trial) for trial in found.trials]
        return [result for result in results if result is not None]

    async def _run_batch(self, set_name: str, batch: Sequence[Trial]) -> list[TrialResult]:
        results: dict[str, TrialResult] = {}
        events: list[ConversationEvent] = []
        running: list[Trial] = []
        for trial in batch:
            try:
                events.append(make_event(trial, f"{set_name}/{trial.trial_id}"))
                running.append(trial)
            except (ValueError, OSError) as error:
                results[trial.trial_id] = _fail(set_name, trial, type(error).__name__)
        outcomes = await self.moderator.moderate(events)
        answered: list[_Answered] = []
        for trial, outcome in zip(running, outcomes, strict=True):
            if isinstance(outcome, Failure):
                results[trial.trial_id] = _fail(set_name, trial, outcome.error)
            else:
                require_other(self.judge.revision, outcome.model_revisions.get("detector", ""))
                answered.append(_pair_up(trial, outcome))
        results |= {result.trial_id: result for result in await self._judge(set_name, answered)}
        return [results[trial.trial_id] for trial in batch]

    async def _judge(self, set_name: str, answered: Sequence[_Answered]) -> list[TrialResult]:
        # A text that is both before and after is judged once: an endpoint need not say the same twice.
        exchanges = list(
            dict.fromkeys(exchange for row in answered for exchange in (row.before, row.after) if exchange is not None)
        )
        harm = dict(zip(exchanges, await self.judge.judge(exchanges), strict=True)) if exchanges else {}
        results = []
        for row in answered:
            assessment = row.verdict.assessment
            results.append(
                TrialResult(
                    set_name=set_name,
                    trial_id=row.trial.trial_id,
                    fingerprint=row.trial.fingerprint(),
                    action=row.verdict.action,
                    method=row.verdict.rewrite_method,
                    is_delivered=row.after is not None,
                    is_unchanged=row.after == row.before,
                    harm_before=harm[row.before],
                    harm_after=None if row.after is None else harm[row.after],
                    images=0 if row.trial.image is None else 1,
                    images_evaluated=0 if assessment is None else assessment.coverage.images_evaluated,
                    images_unread=tuple(found.reason for found in row.verdict.images if found.reason is not None),
                    revisions=row.verdict.model_revisions,
                )
            )
        return results


def make_event(trial: Trial, event_id: str) -> ConversationEvent:
    """Makes a conversation of one turn. A picture goes along as a data URL, so that no root has to be allowed for it.

    Raises:
        ValueError: a text has no UTF-8 form, or the id is too long.
        OSError: the picture cannot be read.
    """
    question: str | Sequence[ContentPart] = trial.prompt
    if trial.image is not None:
        # What it is, is found out by its bytes; the type that is named here is not believed by anybody.
        url = "data:image/png;base64," + base64.b64encode(trial.image.read_bytes()).decode("ascii")
        question = (
            TextPart(type="text", text=trial.prompt),
            ImagePart(type="image_url", image_url=ImageUrl(url=url)),
        )
    return make_turn(question, trial.response, event_id=event_id, tenant=TENANT)


def _pair_up(trial: Trial, verdict: Verdict) -> _Answered:
    # The original is given only where it is not what is delivered.
    before = verdict.response if verdict.original_response is None else verdict.original_response
    if before is None:
        raise ValueError("expected verdicts with the original response, got one without")
    return _Answered(
        trial=trial,
        verdict=verdict,
        before=Exchange(prompt=trial.prompt, response=before),
        after=None if verdict.response is None else Exchange(prompt=trial.prompt, response=verdict.response),
    )


def _fail(set_name: str, trial: Trial, error: str) -> TrialResult:
    return TrialResult(
        set_name=set_name,
        trial_id=trial.trial_id,
        fingerprint=trial.fingerprint(),
        failure=error,
        images=0 if trial.image is None else 1,
    )
