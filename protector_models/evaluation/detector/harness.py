"""Evaluates a detector on labelled records: scores the rows of a set, plain and perturbed.

Shapes: N rows of one set.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from protector_models.evaluation.detector.baselines import BaselineJudge
from protector_models.evaluation.detector.perturbations import perturb
from protector_models.evaluation.detector.summary import ScoredRows, metrics_at, summarise
from protector_models.evaluation.metrics import Labels, Scores
from protector_models.evaluation.report import PerturbationReport, SetReport
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.records.record_sets import EvaluationRows, to_exchange

_BATCH_SIZE = 64
_PERTURBED_METRICS = ("auroc", "f1", "fpr")


class Assesses(Protocol):
    """A detector under evaluation."""

    @property
    def revision(self) -> str:
        """The detector's name and revision."""
        ...

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Scores each exchange, in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """The figures that are computed of every set."""

    threshold: float
    """Harmfulness from which on a row counts as flagged, in [0, 1]."""
    baselines: Sequence[BaselineJudge] = ()
    """Learned rows; the trivial ones are always there."""
    num_worst: int = 0
    perturbations: Sequence[str] = ()
    """Names in `PERTURBATIONS`; each costs another pass over the rows."""

    def count_assessments(self, rows: EvaluationRows) -> int:
        """Returns how many times the detector is asked about these rows."""
        return len(rows.labelled) * (1 + len(self.perturbations))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedSet:
    """A set's report, and what its curves are drawn from."""

    report: SetReport
    labels_N: Labels
    scores_N: Scores


def evaluate_set(
    detector: Assesses, rows: EvaluationRows, plan: EvaluationPlan, *, report_rows: Callable[[int], None]
) -> EvaluatedSet:
    """Scores the labelled rows of a set and computes everything that the plan asks for.

    Args:
        detector: what is evaluated.
        rows: the rows.
        plan: what is computed.
        report_rows: called with the number of assessments since the last call; `count_assessments` in total.
    """
    exchanges = [to_exchange(record) for record in rows.labelled]
    outcomes = _assess(detector, exchanges, report_rows)
    scored = [row for row, outcome in enumerate(outcomes) if outcome is not None]
    found = ScoredRows(
        records=[rows.labelled[row] for row in scored],
        exchanges=[exchange for row in scored if (exchange := exchanges[row]) is not None],
        assessments=[outcome for outcome in outcomes if outcome is not None],
    )
    perturbations = {name: _perturb(detector, found, name, plan.threshold, report_rows) for name in plan.perturbations}
    # Rows without a score are not perturbed: they count as done.
    report_rows((len(rows.labelled) - len(scored)) * len(plan.perturbations))
    return EvaluatedSet(
        report=summarise(
            rows,
            found,
            threshold=plan.threshold,
            baselines=plan.baselines,
            num_worst=plan.num_worst,
            perturbations=perturbations,
        ),
        labels_N=found.labels(),
        scores_N=found.scores(),
    )


def _assess(
    detector: Assesses, exchanges: Sequence[Exchange | None], report_rows: Callable[[int], None]
) -> list[Assessment | None]:
    """Returns one outcome per exchange, None where there is no score."""
    outcomes: list[Assessment | None] = []
    for batch in split_by_count(exchanges, _BATCH_SIZE):
        readable = {row: exchange for row, exchange in enumerate(batch) if exchange is not None}
        assessed = dict(zip(readable, detector.assess(list(readable.values())), strict=True)) if readable else {}
        for row in range(len(batch)):
            outcome = assessed.get(row)
            outcomes.append(outcome if isinstance(outcome, Assessment) else None)
        report_rows(len(batch))
    return outcomes


def _perturb(
    detector: Assesses, plain: ScoredRows, name: str, threshold: float, report_rows: Callable[[int], None]
) -> PerturbationReport:
    disguised: list[Exchange | None] = [
        Exchange(prompt=exchange.prompt, response=perturb(name, exchange.response, record.record_id))
        for record, exchange in zip(plain.records, plain.exchanges, strict=True)
    ]
    outcomes = _assess(detector, disguised, report_rows)
    kept_N = np.array([outcome is not None for outcome in outcomes], dtype=np.bool_)
    labels_N, before_N = plain.labels()[kept_N], plain.scores()[kept_N]
    after_N = np.array([found.harmfulness for found in outcomes if found is not None], dtype=np.float64)
    figures: dict[str, float | None] = {}
    metrics = metrics_at(threshold)
    for metric_name in _PERTURBED_METRICS:
        before, after = (metrics[metric_name](labels_N, scores_N) for scores_N in (before_N, after_N))
        figures[metric_name] = after
        figures[f"delta_{metric_name}"] = None if before is None or after is None else after - before
    return PerturbationReport.model_validate(
        figures
        | {
            "partly_read": sum(found is not None and found.truncated for found in outcomes),
            "failed": len(outcomes) - int(kept_N.sum()),
        }
    )
