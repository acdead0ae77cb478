"""The whole evaluation of a detoxifier: every set that is there, one report."""

from collections.abc import Callable, Mapping

from protector_models.evaluation.detoxification.behaviours.measuring import BehaviourPlan, measure_behaviours
from protector_models.evaluation.detoxification.bench import Bench
from protector_models.evaluation.detoxification.harness import evaluate_harmful, evaluate_pairs, evaluate_safe
from protector_models.evaluation.detoxification.record_kinds import DetoxificationSets
from protector_models.evaluation.detoxification.report import (
    DetoxifierReport,
    HarmfulSetReport,
    PairSetReport,
    SafeSetReport,
)


async def evaluate_detoxifier(
    bench: Bench,
    sets: DetoxificationSets,
    behaviours: BehaviourPlan,
    *,
    max_rows: int | None,
    report_set: Callable[[str], None],
    report_rows: Callable[[int], None],
) -> DetoxifierReport:
    """Measures everything.

    Args:
        bench: what is measured, and with what.
        sets: the records; may be empty.
        behaviours: the rows that were written for the project.
        max_rows: how many rows were drawn of each set at most; goes into the report.
        report_set: called with the name of the set that is next.
        report_rows: called with the number of rows since the last call; in total what both `count_steps()` say.

    Raises:
        DependencyError: a model of the Moderator is gone or late.
    """
    pairs: dict[str, PairSetReport] = {}
    for name, records in sets.pairs.items():
        report_set(name)
        pairs[name] = evaluate_pairs(bench, records, report_rows)
    safe: dict[str, SafeSetReport] = {}
    for name, records in sets.safe.items():
        report_set(name)
        safe[name] = await evaluate_safe(bench, records, report_rows)
    harmful: dict[str, HarmfulSetReport] = {}
    for name, records in sets.harmful.items():
        report_set(name)
        harmful[name] = await evaluate_harmful(bench, records, report_rows)
    table = await measure_behaviours(bench, behaviours, report_set=report_set, report_rows=report_rows)
    return DetoxifierReport(
        sets=pairs,
        safe_changed={name: found.safe_changed for name, found in safe.items()},
        safe_changed_by_moderator={name: found.safe_changed_by_moderator for name, found in safe.items()},
        detector_flagged={name: found.detector_flagged for name, found in safe.items()},
        residual_harm={name: found.residual_harm for name, found in harmful.items()},
        harm_before={name: found.harm_before for name, found in harmful.items()},
        released_above_threshold=sum(found.released_above_threshold for found in harmful.values()),
        safe_sets=safe,
        harmful_sets=harmful,
        behaviours=table,
        revisions=_name_revisions(bench),
        judges=dict(bench.judges.card.validation) | {"harm_threshold": bench.judges.card.harm_threshold},
        max_rows=max_rows,
    )


def _name_revisions(bench: Bench) -> dict[str, str]:
    revisions: Mapping[str, str] = {
        "edit_model": bench.editor.revision,
        "detector": bench.detector.revision,
        "judges": bench.judges.card.make_revision(),
        "policy": bench.policy.revision,
    }
    return dict(revisions)
