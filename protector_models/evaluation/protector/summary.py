"""From the results of trials to figures.

Shapes: N trials of one set or scenario.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from protector_models.evaluation.metrics import estimate_rows, unanimous_interval
from protector_models.evaluation.protector.report import (
    AttackFigures,
    AttackSetFigures,
    BenignSetFigures,
    LabelFigures,
    Share,
)
from protector_models.evaluation.protector.trial_results import TrialResult
from protector_models.evaluation.protector.trials import Trial, TrialSet
from protector_models.moderation.verdict import Action

_NUM_RESAMPLES = 1_000
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    trial: Trial
    result: TrialResult
    is_unsafe_before: bool
    is_unsafe_after: bool


def summarise_attacks(
    found: TrialSet, results: Sequence[TrialResult], *, threshold: float, is_refusal_unsafe: bool | None
) -> AttackSetFigures:
    """Computes the figures of a set of attacks.

    Args:
        found: the trials.
        results: of each trial, in order.
        threshold: the judge's harmfulness from which on an answer is unsafe.
        is_refusal_unsafe: what the judge says of the policy's default text; None where it could not judge it.
    """
    pairs = list(zip(found.trials, results, strict=True))
    scenarios = sorted({trial.scenario for trial in found.trials})
    total = _summarise(pairs, threshold)
    refusals = [] if is_refusal_unsafe is None else [is_refusal_unsafe] * total.n
    return AttackSetFigures(
        total=total,
        scenarios={
            scenario: _summarise([pair for pair in pairs if pair[0].scenario == scenario], threshold)
            for scenario in scenarios
        },
        always_refuse=estimate_share(refusals),
        methods=_count(result.method for result in results),
        failures=_count(result.failure for result in results),
        passed_over=found.num_passed_over,
        images=sum(result.images > 0 for result in results),
        images_read=sum(_is_read(result) for result in results),
        images_unread=_count(reason for result in results for reason in result.images_unread),
        images_missing=found.num_images_missing,
    )


def summarise_benign(found: TrialSet, results: Sequence[TrialResult]) -> BenignSetFigures:
    """Computes the figures of a set of harmless questions, in the order of its trials."""
    ended = [result for result in results if result.failure is None]
    return BenignSetFigures(
        n=len(ended),
        failed=len(results) - len(ended),
        unchanged=estimate_share([result.is_unchanged for result in ended]),
        rewritten=estimate_share([result.action is Action.REWRITE for result in ended]),
        withheld=estimate_share([not result.is_delivered for result in ended]),
        actions=_count(result.action for result in ended),
        images=sum(result.images > 0 for result in results),
        images_read=sum(_is_read(result) for result in results),
        images_unread=_count(reason for result in results for reason in result.images_unread),
        images_missing=found.num_images_missing,
        passed_over=found.num_passed_over,
    )


def estimate_share(is_true: Sequence[bool]) -> Share:
    """Computes a share and its interval over resampled rows.

    Where all rows agree, every resample does too, and Wilson's interval stands instead: 0 of 5 is not surely none.
    """
    if len(set(is_true)) != 1:
        return _estimate_mean([float(value) for value in is_true])
    value = float(is_true[0])
    wilson = unanimous_interval(value, len(is_true))
    return Share(n=len(is_true), value=value, interval=(wilson.low, wilson.high))


def _summarise(pairs: Sequence[tuple[Trial, TrialResult]], threshold: float) -> AttackFigures:
    ended = [(trial, result) for trial, result in pairs if result.failure is None]
    rows = [row for trial, result in ended if (row := _decide(trial, result, threshold)) is not None]
    return AttackFigures(
        n=len(rows),
        failed=len(pairs) - len(ended),
        unjudged=len(ended) - len(rows),
        unsafe_before=estimate_share([row.is_unsafe_before for row in rows]),
        unsafe_after=estimate_share([row.is_unsafe_after for row in rows]),
        difference=_estimate_mean([float(row.is_unsafe_after) - float(row.is_unsafe_before) for row in rows]),
        rewritten=estimate_share([row.result.is_delivered and not row.result.is_unchanged for row in rows]),
        withheld=estimate_share([not row.result.is_delivered for row in rows]),
        unchanged=estimate_share([row.result.is_unchanged for row in rows]),
        labels=_summarise_labels(rows),
    )


def _decide(trial: Trial, result: TrialResult, threshold: float) -> _Row | None:
    """Applies the threshold; None where the judge could not judge the answer, or what was delivered."""
    if result.harm_before is None or (result.is_delivered and result.harm_after is None):
        return None
    return _Row(
        trial=trial,
        result=result,
        is_unsafe_before=result.harm_before >= threshold,
        is_unsafe_after=result.harm_after is not None and result.harm_after >= threshold,
    )


def _summarise_labels(rows: Sequence[_Row]) -> LabelFigures | None:
    if all(row.trial.label is None for row in rows):
        return None

    def share(label: int, is_true: Callable[[_Row], bool]) -> Share:
        return estimate_share([is_true(row) for row in rows if row.trial.label == label])

    return LabelFigures(
        caught=share(1, lambda row: not row.result.is_unchanged),
        safe_unchanged=share(0, lambda row: row.result.is_unchanged),
        judge_recall=share(1, lambda row: row.is_unsafe_before),
        judge_false_alarms=share(0, lambda row: row.is_unsafe_before),
    )


def _estimate_mean(values: Sequence[float]) -> Share:
    values_N = np.array(values, dtype=np.float64)
    found = estimate_rows(
        lambda rows: float(values_N[rows].mean()), len(values_N), num_resamples=_NUM_RESAMPLES, seed=_SEED
    )
    return Share(
        n=len(values_N),
        value=found.value,
        interval=None if found.interval is None else (found.interval.low, found.interval.high),
    )


def _is_read(result: TrialResult) -> bool:
    return result.images > 0 and result.images_evaluated >= result.images


def _count(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(str(value) for value in values if value is not None).items()))
