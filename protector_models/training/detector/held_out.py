"""Judging the held-out slice with the detector as served: scores, threshold, budgets, the card's figures.

Shapes: N rows, S pieces of one, K outputs.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from tokenizers import Tokenizer

from protector_models.checkpoints.cards import Calibration
from protector_models.detectors.shipped.harm_detector import SCORE_DECIMALS, OnnxHarmDetector
from protector_models.detectors.shipped.window_aggregation import ALONE, ANSWER, Numbers, judge_pieces
from protector_models.evaluation.detector.baselines import BaselineJudge
from protector_models.evaluation.metrics import auroc, expected_calibration_error, f1_at, fpr_at, tpr_at_fpr
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.policy.rules import ANY_CATEGORY
from protector_models.reading.self_harm_mentions import speaks_of_self_harm
from protector_models.reading.traced_edits import Lookup
from protector_models.records.category_map import TRAINED_CATEGORIES
from protector_models.records.examples import Example
from protector_models.records.mix import RowKind
from protector_models.running.model_threads import SynchronousHarmDetector
from protector_models.training.detector.answer_draws import AnswerDraws, DrawPlan, cut_examples
from protector_models.training.detector.calibration import pick_budget_thresholds
from protector_models.training.detector.thresholds import ThresholdChoice, choose_threshold

FALSE_POSITIVE_BUDGETS = (0.001, 0.005, 0.01, 0.05)
"""Shares of safe answers that may be flagged."""

_BATCH_SIZE = 64
_SELF_HARM = TRAINED_CATEGORIES.index("self_harm")
_NUM_COMPOSED = 1_500
_MAX_ALONE = 3_000
_COMPOSED = DrawPlan(mixed=0.6, framed=0.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutScores:
    """Held-out rows and what the detector gives them, calibrated and rounded as it reports them."""

    rows: Sequence[Example]
    harmfulness: list[float]
    categories: list[list[float]]
    """Of each row, in the order of the card's categories."""

    @classmethod
    def of(cls, rows: Sequence[Example], logits: Sequence[Numbers], calibrations: Sequence[Calibration]) -> Self:
        """Scores rows by the logits of their pieces."""
        scales_K, biases_K = np.array([(one.scale, one.bias) for one in calibrations]).T
        harmfulness: list[float] = []
        categories: list[list[float]] = []
        for row, logits_SK in zip(rows, logits, strict=True):
            harm_S, categories_SC = judge_pieces(logits_SK * scales_K + biases_K, ANSWER if row.prompt else ALONE)
            harmfulness.append(round(float(harm_S.max()), SCORE_DECIMALS))
            # Of a row that speaks of self-harm in any piece, as if it did in the worst one: served, it may score less.
            scores_C = categories_SC.max(axis=0)
            if speaks_of_self_harm(row.response):
                scores_C[_SELF_HARM] = harm_S.max()
            categories.append([round(float(score), SCORE_DECIMALS) for score in scores_C])
        return cls(rows=rows, harmfulness=harmfulness, categories=categories)


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


def compose_answers(validation: Sequence[Example], lookup: Lookup) -> list[Example]:
    """Returns answers in company, made of held-out rows as those of training are: framed, mixed, cut, in structures.

    Args:
        validation: held-out rows.
        lookup: the tokenizer's `token_to_id`.
    """
    rows = cut_examples([row for row in validation if row.kind is RowKind.ANSWER], lookup)
    draws, rng = AnswerDraws(rows, _COMPOSED), random.Random(0)
    drawn = [draws.draw(rng.choice(rows), rng) for _ in range(_NUM_COMPOSED)] if rows else []
    return [
        replace(
            one.example,
            group="composed",
            prompt=one.prompt,
            response=" ".join(piece.text for piece in one.pieces),
            harmful=one.harmful,
            categories=None,
            is_benign_set=False,
        )
        for one in drawn
    ]


def select_alone(validation: Sequence[Example]) -> list[Example]:
    """Returns held-out texts and prompts, and answers without their prompts, in a fixed random order: at most 3,000."""
    alone = (RowKind.ANSWER, RowKind.TEXT, RowKind.PROMPT)
    rows = [replace(row, prompt="") for row in validation if row.kind in alone and row.harmful is not None]
    random.Random(0).shuffle(rows)
    return rows[:_MAX_ALONE]


def to_exchange(row: Example) -> Exchange:
    """Returns what the detector sees of a row."""
    return Exchange(prompt=row.prompt, response=row.response)


def find_logits(
    detector: OnnxHarmDetector, rows: Sequence[Example], *, report_rows: Callable[[int], None]
) -> list[Numbers]:
    """Returns the logits [S, K] of the pieces of each row, before calibration."""
    logits: list[Numbers] = []
    for batch in split_by_count(rows, _BATCH_SIZE):
        logits += detector.find_logits([to_exchange(row) for row in batch])
        report_rows(len(batch))
    return logits


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutLogits:
    """Held-out rows and the logits [S, K] of the pieces of each, before calibration."""

    answers: Sequence[Example]
    """As they came, and what was composed of them."""
    logits: Sequence[Numbers]
    alone: Sequence[Example]
    logits_alone: Sequence[Numbers]


def score_held_out(
    detector: OnnxHarmDetector,
    validation: Sequence[Example],
    tokenizer: Tokenizer,
    *,
    report_rows: Callable[[int], None],
) -> HeldOutLogits:
    """Scores all that thresholds and calibration are found on, `count_scored_rows` in number."""
    answers = [*select_answers(validation), *compose_answers(validation, tokenizer.token_to_id)]
    alone = select_alone(validation)
    return HeldOutLogits(
        answers=answers,
        logits=find_logits(detector, answers, report_rows=report_rows),
        alone=alone,
        logits_alone=find_logits(detector, alone, report_rows=report_rows),
    )


def count_scored_rows(validation: Sequence[Example], tokenizer: Tokenizer) -> int:
    """Returns how many rows `score_held_out` will report."""
    composed = compose_answers(validation, tokenizer.token_to_id)
    return len(select_answers(validation)) + len(composed) + len(select_alone(validation))


def judge_held_out(answers: HeldOutScores, alone: HeldOutScores, *, category_names: Sequence[str]) -> HeldOutJudgement:
    """Chooses thresholds on scored rows.

    Args:
        answers: to prompts or without them, and what was composed of them.
        alone: texts, prompts, and answers without their prompts.
        category_names: of the scores by category, in order.

    Raises:
        ValueError: the slice cannot give a threshold.
    """
    choice = choose_threshold(answers.rows, answers.harmfulness)
    # All safe answers, the difficult ones too: ordinary ones hardly touch a category, and a threshold that only they
    # keep below would flag every refusal that names the harm.
    safe = [place for place, row in enumerate(answers.rows) if row.harmful == 0.0]
    scores_by_category = {ANY_CATEGORY: [answers.harmfulness[place] for place in safe]} | {
        name: [answers.categories[place][index] for place in safe] for index, name in sorted(enumerate(category_names))
    }
    figures_alone = summarise_rows(alone.rows, alone.harmfulness, choice)
    return HeldOutJudgement(
        choice=choice,
        budget_thresholds={
            name: pick_budget_thresholds(found, FALSE_POSITIVE_BUDGETS, decimals=SCORE_DECIMALS)
            for name, found in scores_by_category.items()
        },
        figures=summarise_rows(answers.rows, answers.harmfulness, choice)
        | {f"alone_{name}": value for name, value in figures_alone.items()},
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
    for batch in split_by_count(rows, _BATCH_SIZE):
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
