"""Category scores measured against the categories that a set names, in OpenAI's labels.

Shapes: N rows of one set.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from protector_models.evaluation.metrics import Labels, Rows, Scores, auroc, estimate_rows
from protector_models.evaluation.report import CategoryFigures, CategoryReport

OPENAI_CATEGORIES: Final[Mapping[str, tuple[str, ...]]] = {
    "harassment": ("harassment",),
    "harassment/threatening": ("harassment",),
    "hate": ("hate",),
    "hate/threatening": ("hate",),
    "illicit": ("illicit",),
    "illicit/violent": ("illicit",),
    "self-harm": ("self_harm",),
    "self-harm/intent": ("self_harm",),
    "self-harm/instructions": ("self_harm",),
    "sexual": ("sexual",),
    "sexual/minors": ("sexual_minors", "sexual"),
    "violence": ("violence",),
    "violence/graphic": ("violence",),
}
"""OpenAI's 13 labels and, for each, ours: the first of them that the detector scores is read for it."""

OWN_CATEGORIES: Final[tuple[str, ...]] = ("privacy", "deception", "unsafe_advice")
"""Ours that OpenAI has no label for; they stand for themselves."""

# How the 2022 moderation test set abbreviates them.
_OPENAI_CODES: Final[Mapping[str, str]] = {
    "S": "sexual",
    "H": "hate",
    "V": "violence",
    "HR": "harassment",
    "SH": "self-harm",
    "S3": "sexual/minors",
    "H2": "hate/threatening",
    "V2": "violence/graphic",
}

_NUM_RESAMPLES = 200
_SEED = 0


def parse_labels(field: str) -> frozenset[str] | None:
    """Reads a record's category field as labels.

    Args:
        field: labels joined by commas: OpenAI's names, its codes, or ours, with "_" for "/" and "-" if need be.

    Returns:
        OpenAI's names, or ours where there is none; None where the field is empty or says something else.
    """
    names: list[str] = []
    for part in (part.strip() for part in field.split(",")):
        name = _OPENAI_CODES.get(part) or _NAMES.get(_spell(part))
        if name is None:
            return None
        names.append(name)
    return frozenset(names)


def report_categories(
    fields: Sequence[str],
    labels_N: Labels,
    category_scores: Sequence[Mapping[str, float]],
    baseline_scores: Mapping[str, Sequence[Mapping[str, float]]],
) -> CategoryReport | None:
    """Ranks the rows by each category's score.

    A row belongs to a category if it is harmful and its field names it; all other rows are the other class.

    Args:
        fields: the category field of each row.
        labels_N: whether each row is harmful.
        category_scores: the detector's, for each row, by our names.
        baseline_scores: the same for the learned rows, by name of the row.

    Returns:
        None where a harmful row's field is not in these labels: then the set's categories are others.
    """
    parsed = [parse_labels(field) for field in fields]
    if not labels_N.any() or any(found is None for found, harmful in zip(parsed, labels_N, strict=True) if harmful):
        return None
    named = [found if harmful and found else frozenset() for found, harmful in zip(parsed, labels_N, strict=True)]
    members = {
        label: np.array([label in found for found in named], dtype=np.bool_)
        for label in (*OPENAI_CATEGORIES, *OWN_CATEGORIES)
    }
    members = {label: members_N for label, members_N in members.items() if members_N.any()}
    columns = _read_columns(members, category_scores)
    macro = estimate_rows(
        lambda rows: _average(members, columns, rows), len(labels_N), num_resamples=_NUM_RESAMPLES, seed=_SEED
    )
    return CategoryReport(
        macro_auroc=macro.value,
        macro_interval=None if macro.interval is None else (macro.interval.low, macro.interval.high),
        per={
            label: CategoryFigures(
                n=int(members_N.sum()),
                auroc=auroc(members_N, columns[label][1]) if label in columns else None,
                read_as=columns[label][0] if label in columns else None,
            )
            for label, members_N in members.items()
        },
        baselines={
            row: _average(
                {label: members[label] for label in columns}, _read_columns(members, scores), np.arange(len(labels_N))
            )
            for row, scores in baseline_scores.items()
        },
    )


def _read_columns(
    members: Mapping[str, Labels], category_scores: Sequence[Mapping[str, float]]
) -> dict[str, tuple[str, Scores]]:
    """Returns, for each label that has one, the category read for it and the scores."""
    known = category_scores[0].keys() if category_scores else set[str]()
    columns: dict[str, tuple[str, Scores]] = {}
    for label in members:
        ours = next((name for name in OPENAI_CATEGORIES.get(label, (label,)) if name in known), None)
        if ours is not None:
            columns[label] = (ours, np.array([scores[ours] for scores in category_scores], dtype=np.float64))
    return columns


def _average(members: Mapping[str, Labels], columns: Mapping[str, tuple[str, Scores]], rows: Rows) -> float | None:
    found = [auroc(members[label][rows], columns[label][1][rows]) for label in members if label in columns]
    defined = [value for value in found if value is not None]
    return sum(defined) / len(defined) if defined else None


def _spell(name: str) -> str:
    return name.lower().replace("/", "_").replace("-", "_")


_NAMES: Final[Mapping[str, str]] = {_spell(name): name for name in (*OPENAI_CATEGORIES, *OWN_CATEGORIES)}
