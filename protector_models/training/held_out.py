"""Judging the held-out slice with the detector as served: scores, threshold, budgets, the card's figures.

Shapes: N rows.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from protector_models.detectors.harm_detector import SCORE_DECIMALS, OnnxHarmDetector
from protector_models.evaluation.baselines import BaselineJudge
from protector_models.evaluation.metrics import auroc, expected_calibration_error, f1_at, fpr_at, tpr_at_fpr
from protector_models.in_process import SynchronousHarmDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.policy import ANY_CATEGORY
from protector_models.moderation.verdict import Assessment
from protector_models.training.calibration import pick_budget_thresholds
from protector_models.training.examples import Example
from protector_models.training.sources import RowKind
from protector_models.training.thresholds import ThresholdChoice, choose_threshold

FALSE_POSITIVE_BUDGETS = (0.001, 0.005, 0.01, 0.05)
"""Shares of safe answers that may be flagged."""

_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutJudgement:
    """What the held-out slice says of a detector."""

    choice: ThresholdChoice
    budget_thresholds: dict[str, dict[str, float | None]]
    """By `any` or category, then by budget."""
    figures: dict[str, float | int | None]


def select_answers(validation: Sequence[Example]) -> list[Example]:
    """Returns the held-out answers with a person's or a judge's label, in a fixed random order."""
    rows = [row for row in validation if row.kind is RowKind.ANSWER and row.harmful is not None]
    # Sets follow each other in the split; a shuffle makes progress even.
    random.Random(0).shuffle(rows)
    return rows


def select_alone(validation: Sequence[Example]) -> list[Example]:
    """Returns the held-out texts and prompts, and the answers without their prompts, in a fixed random order."""
    alone = (RowKind.ANSWER, RowKind.TEXT, RowKind.PROMPT)
    rows = [replace(row, prompt="") for row in validation if row.kind in alone and row.harmful is not None]
    random.Random(0).shuffle(rows)
    return rows


def to_exchange(row: Example) -> Exchange:
    """Returns what the detector sees of a row."""
    return Exchange(prompt=row.prompt, response=row.response)


def judge_held_out(
    detector: OnnxHarmDetector, validation: Sequence[Example], *, report_rows: Callable[[int], None]
) -> HeldOutJudgement:
    """Scores the slice and chooses thresholds.

    Raises:
        ValueError: the detector gave no score for a row, or the slice cannot give a threshold.
    """
    answers, alone = select_answers(validation), select_alone(validation)
    assessments = assess_rows(detector, answers, report_rows=report_rows)
    scores_alone = [found.harmfulness for found in assess_rows(detector, alone, report_rows=report_rows)]
    scores = [found.harmfulness for found in assessments]
    choice = choose_threshold(answers, scores)
    # All safe answers, the difficult ones too: ordinary ones hardly touch a category, and a threshold that only they
    # keep below would flag every refusal that names the harm.
    safe = [found for row, found in zip(answers, assessments, strict=True) if row.harmful == 0.0]
    scores_by_category = {ANY_CATEGORY: [found.harmfulness for found in safe]} | {
        name: [found.categories[name] for found in safe] for name in sorted(safe[0].categories)
    }
    return HeldOutJudgement(
        choice=choice,
        budget_thresholds={
            name: pick_budget_thresholds(found, FALSE_POSITIVE_BUDGETS, decimals=SCORE_DECIMALS)
            for name, found in scores_by_category.items()
        },
        figures=summarise_rows(answers, scores, choice)
        | {f"alone_{name}": value for name, value in summarise_rows(alone, scores_alone, choice).items()},
    )


def choose_for_baseline(judge: BaselineJudge, validation: Sequence[Example]) -> float:
    """Chooses the threshold of a row to beat, by the detector's rule on the same answers."""
    answers = select_answers(validation)
    return choose_threshold(answers, judge.score_rows([to_exchange(row) for row in answers])).threshold


def assess_rows(
    detector: SynchronousHarmDetector, rows: Sequence[Example], *, report_rows: Callable[[int], None]
) -> list[Assessment]:
    """Scores rows with a detector as served.

    Raises:
        ValueError: the detector gave no score for a row.
    """
    assessments: list[Assessment] = []
    for start in range(0, len(rows), _BATCH_SIZE):
        batch = rows[start : start + _BATCH_SIZE]
        for outcome in detector.assess([to_exchange(row) for row in batch]):
            if not isinstance(outcome, Assessment):
                raise ValueError(f"a held-out row has no score: {outcome.error}")
            assessments.append(outcome)
        report_rows(len(batch))
    return assessments


def summarise_rows(
    rows: Sequence[Example], scores: Sequence[float], choice: ThresholdChoice
) -> dict[str, float | int | None]:
    """Returns the card's figures of rows, by name; None where the rows cannot give one."""
    scores_N = np.array(scores, dtype=np.float64)
    labels_N = np.array([row.harmful == 1.0 for row in rows])
    ordinary_N = np.array([row.is_benign_set for row in rows])
    groups_N = np.array([row.group for row in rows])
    figures: dict[str, float | int | None] = {
        "n": len(rows),
        "harmful": int(labels_N.sum()),
        "ordinary": int(ordinary_N.sum()),
        "f1": f1_at(labels_N, scores_N, choice.threshold),
        "fpr": fpr_at(labels_N, scores_N, choice.threshold),
        "ordinary_fpr": fpr_at(labels_N[ordinary_N], scores_N[ordinary_N], choice.threshold),
        "auroc": auroc(labels_N, scores_N),
        "tpr_at_1pct_fpr": tpr_at_fpr(labels_N, scores_N, 0.01),
        "ece": expected_calibration_error(labels_N, scores_N),
    }
    for group in sorted(set(groups_N.tolist())):
        figures[f"auroc_{group}"] = auroc(labels_N[groups_N == group], scores_N[groups_N == group])
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
