"""The whole experiment: every set through the Moderator, one report."""

from collections.abc import Callable, Sequence

from protector_models.evaluation.protector.experiment import TENANT, Experiment
from protector_models.evaluation.protector.report import AttackSetFigures, BenignSetFigures, ProtectorReport
from protector_models.evaluation.protector.summary import summarise_attacks, summarise_benign
from protector_models.evaluation.protector.trial_results import TrialResult
from protector_models.evaluation.protector.trials import TrialSet
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.policy.policy import Policy


async def evaluate_protector(
    experiment: Experiment,
    sets: Sequence[TrialSet],
    *,
    policy: Policy,
    max_rows: int | None,
    report_set: Callable[[str], None],
    report_trials: Callable[[int], None],
) -> ProtectorReport:
    """Measures everything.

    Args:
        experiment: what is measured, and who judges.
        sets: the trials.
        policy: the Moderator's.
        max_rows: how many rows were drawn of each set at most; goes into the report.
        report_set: called with the name of the set that is next.
        report_trials: called with the number of trials since the last call.

    Raises:
        ConfigurationError: the judge turns out to be the detector under test, or kept results are of other models.
        DependencyError: a model is gone or late.
    """
    judge = experiment.judge
    refusal = policy.for_tenant(TENANT).safe_completion(None)
    (harm_of_refusal,) = await judge.judge([Exchange(prompt="", response=refusal)])
    attacks: dict[str, AttackSetFigures] = {}
    benign: dict[str, BenignSetFigures] = {}
    revisions: dict[str, str] = {}
    for found in sets:
        report_set(found.name)
        results = await experiment.run(found, report_trials=report_trials)
        revisions |= _find_revisions(results)
        if found.is_benign:
            benign[found.name] = summarise_benign(found, results)
        else:
            attacks[found.name] = summarise_attacks(
                found,
                results,
                threshold=judge.threshold,
                is_refusal_unsafe=None if harm_of_refusal is None else harm_of_refusal >= judge.threshold,
            )
    return ProtectorReport(
        judge=judge.describe(),
        revisions=dict(sorted(revisions.items())),
        policy=policy.revision,
        attacks=attacks,
        benign=benign,
        max_rows=max_rows,
    )


def _find_revisions(results: Sequence[TrialResult]) -> dict[str, str]:
    """Returns the revision of each model; a detoxifier may be several models, of which the last one is named.

    Raises:
        ConfigurationError: kept results are of another revision of a model.
    """
    found: dict[str, str] = {}
    for result in results:
        for name, revision in result.revisions.items():
            if name != "detoxifier" and found.setdefault(name, revision) != revision:
                raise ConfigurationError(
                    f"--work: has results of {name} {found[name]} and of {revision}: expected a directory for each"
                )
            found[name] = revision
    return found
