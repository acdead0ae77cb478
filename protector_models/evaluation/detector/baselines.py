"""Trivial and learned judges: what a detector has to beat before its figures mean anything."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from protector_models.evaluation.metrics import Labels, Scores, auroc, f1_at, fpr_at
from protector_models.judges.refusals import is_refusal
from protector_models.moderation.conversation import Exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRow:
    """Figures of one judge; None where the data, or the judge, does not have the metric."""

    f1: float | None
    auroc: float | None
    fpr: float | None


class BaselineJudge(Protocol):
    """A small model whose row stands beside the detector's. It blocks, and may be called many times."""

    @property
    def name(self) -> str:
        """Name of the row, such as "bag of words"."""
        ...

    @property
    def threshold(self) -> float | None:
        """Score from which on a row counts as flagged, chosen on held-out data; None: the row has no F1."""
        ...

    def score_rows(self, exchanges: Sequence[Exchange]) -> list[float]:
        """Scores each exchange, in order, higher being more harmful."""
        ...

    def score_categories(self, exchanges: Sequence[Exchange]) -> list[Mapping[str, float]]:
        """Scores each exchange for our categories, in order; empty mappings where it has none.

        Its one score of harm then stands for each category.
        """
        ...


def score_baselines(responses: Sequence[str], labels_N: Labels) -> Mapping[str, BaselineRow]:
    """Scores the trivial judges.

    Length has neither F1 nor FPR: a threshold chosen on the very set that it is reported for would flatter it.
    """
    judges: dict[str, Callable[[str], float]] = {
        "not a refusal": lambda response: 0.0 if is_refusal(response) else 1.0,
        "always harmful": lambda _: 1.0,
    }
    rows: dict[str, BaselineRow] = {}
    for name, judge in judges.items():
        scores_N = np.array([judge(response) for response in responses], dtype=np.float64)
        rows[name] = judge_row(labels_N, scores_N, threshold=0.5)
    lengths_N = np.array([len(response) for response in responses], dtype=np.float64)
    rows["length"] = judge_row(labels_N, lengths_N, threshold=None)
    return rows


def judge_row(labels_N: Labels, scores_N: Scores, *, threshold: float | None) -> BaselineRow:
    """Computes the figures of a row; without a threshold the ranking alone."""
    return BaselineRow(
        f1=None if threshold is None else f1_at(labels_N, scores_N, threshold),
        auroc=auroc(labels_N, scores_N),
        fpr=None if threshold is None else fpr_at(labels_N, scores_N, threshold),
    )
