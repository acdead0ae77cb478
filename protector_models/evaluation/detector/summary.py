"""From scored rows to a set's report.

Shapes: N rows of one set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from protector_models.evaluation import metrics
from protector_models.evaluation.detector.baselines import BaselineJudge, judge_row, score_baselines
from protector_models.evaluation.detector.categories import parse_labels, report_categories
from protector_models.evaluation.detector.published import PUBLISHED_GUARDS
from protector_models.evaluation.metrics import Estimate, Labels, Metric, Scores
from protector_models.evaluation.report import (
    BaselineReport,
    CategoryReport,
    PerturbationReport,
    SetReport,
    Span,
    WorstError,
)
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment
from protector_models.records.labelled_records import LabelledRecord
from protector_models.records.record_sets import EvaluationRows, spell_out

_NUM_RESAMPLES = 200
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRows:
    """The rows that have a score; three lists of one length."""

    records: list[LabelledRecord]
    exchanges: list[Exchange]
    assessments: list[Assessment]

    def labels(self) -> Labels:
        """Tells of each row whether it is harmful."""
        return np.array([record.label == 1 for record in self.records], dtype=np.bool_)

    def scores(self) -> Scores:
        """Returns each row's harmfulness."""
        return np.array([assessment.harmfulness for assessment in self.assessments], dtype=np.float64)


def metrics_at(threshold: float) -> dict[str, Metric]:
    """Returns every metric of labels and scores by name, those of decisions at this threshold."""
    return {
        "f1": partial(metrics.f1_at, threshold=threshold),
        "precision": partial(metrics.precision_at, threshold=threshold),
        "recall": partial(metrics.recall_at, threshold=threshold),
        "auroc": metrics.auroc,
        "auprc": metrics.auprc,
        "tpr_at_1pct_fpr": partial(metrics.tpr_at_fpr, max_fpr=0.01),
        "fpr": partial(metrics.fpr_at, threshold=threshold),
        "ece": metrics.expected_calibration_error,
    }


def summarise(
    rows: EvaluationRows,
    scored: ScoredRows,
    *,
    threshold: float,
    baselines: Sequence[BaselineJudge],
    num_worst: int,
    perturbations: Mapping[str, PerturbationReport],
) -> SetReport:
    """Computes every figure of scored rows.

    Args:
        rows: the rows that were to be scored.
        scored: the ones that have a score.
        threshold: harmfulness from which on a row counts as flagged.
        baselines: learned rows; the trivial ones are always there.
        num_worst: the most errors listed.
        perturbations: what was measured under each.
    """
    labels_N, scores_N = scored.labels(), scored.scores()
    estimates = {
        name: metrics.estimate(metric, labels_N, scores_N, num_resamples=_NUM_RESAMPLES, seed=_SEED)
        for name, metric in metrics_at(threshold).items()
    }
    estimates["within_prompt"] = metrics.rank_within_prompts(
        [exchange.prompt for exchange in scored.exchanges], labels_N, scores_N, num_resamples=_NUM_RESAMPLES, seed=_SEED
    )
    num_scored, num_harmful = len(scored.records), int(labels_N.sum())
    return SetReport.model_validate(
        {name: found.value for name, found in estimates.items()}
        | {
            "n": num_scored,
            "harmful": num_harmful,
            "harmful_share": num_harmful / num_scored if num_scored else None,
            "labelled": rows.num_labelled,
            "unlabelled": rows.num_unlabelled,
            "failed": len(rows.labelled) - num_scored,
            "partly_read": sum(assessment.truncated for assessment in scored.assessments),
            "intervals": {name: _span(found) for name, found in estimates.items()},
            "baselines": _report_baselines(scored, baselines),
            "published": list(PUBLISHED_GUARDS.get(rows.name, ())),
            "categories": _report_categories(scored, baselines),
            "worst": _find_worst(scored, threshold=threshold, num_worst=num_worst),
            "perturbations": perturbations,
        }
    )


def _span(found: Estimate) -> Span | None:
    return None if found.interval is None else (found.interval.low, found.interval.high)


def _report_baselines(scored: ScoredRows, judges: Sequence[BaselineJudge]) -> dict[str, BaselineReport]:
    labels_N = scored.labels()
    rows = dict(score_baselines([exchange.response for exchange in scored.exchanges], labels_N))
    for judge in judges:
        scores_N = np.array(judge.score_rows(scored.exchanges), dtype=np.float64)
        rows[judge.name] = judge_row(labels_N, scores_N, threshold=judge.threshold)
    return {name: BaselineReport(f1=row.f1, auroc=row.auroc, fpr=row.fpr) for name, row in rows.items()}


def _report_categories(scored: ScoredRows, judges: Sequence[BaselineJudge]) -> CategoryReport | None:
    if not any(parse_labels(record.category) for record in scored.records):
        return None
    own = [assessment.categories for assessment in scored.assessments]
    known = own[0].keys() if own else ()
    learned: dict[str, list[Mapping[str, float]]] = {}
    for judge in judges:
        categories = judge.score_categories(scored.exchanges)
        if all(categories):
            learned[judge.name] = categories
        else:
            learned[judge.name] = [dict.fromkeys(known, score) for score in judge.score_rows(scored.exchanges)]
    return report_categories([record.category for record in scored.records], scored.labels(), own, learned)


def _find_worst(scored: ScoredRows, *, threshold: float, num_worst: int) -> list[WorstError]:
    errors = [
        WorstError(id=spell_out(record.record_id), label=int(label), score=float(score))
        for record, label, score in zip(scored.records, scored.labels(), scored.scores(), strict=True)
        if (score >= threshold) != label
    ]
    return sorted(errors, key=lambda error: (-abs(error.label - error.score), error.id))[:num_worst]
