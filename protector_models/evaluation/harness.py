"""Evaluates a detector on labelled records: one report per set, with intervals and the trivial rows.

Shapes: N rows of one set.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from protector_models.evaluation import metrics
from protector_models.evaluation.baselines import score_baselines
from protector_models.evaluation.metrics import Labels, Metric, Scores, estimate
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.verdict import Assessment, ItemFailure
from protector_models.training.records import LabelledRecord, find_record_files, read_records

_BATCH_SIZE = 64
_NUM_RESAMPLES = 200
_SEED = 0


class Assesses(Protocol):
    """What is evaluated."""

    @property
    def revision(self) -> str:
        """The detector's name and revision."""
        ...

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Scores each exchange, in order."""
        ...


class BaselineReport(BaseModel):
    """Figures of one trivial judge."""

    model_config = ConfigDict(frozen=True)

    f1: float | None
    auroc: float | None


class SetReport(BaseModel):
    """Figures of one set; a metric that does not exist for its data is None."""

    model_config = ConfigDict(frozen=True)

    n: int
    """Rows that were scored."""
    harmful: int
    """Of them harmful."""
    failed: int
    """Labelled rows for which the detector gave no score; in no metric."""
    unlabelled: int
    """Rows without a label; not scored."""
    f1: float | None
    precision: float | None
    recall: float | None
    auroc: float | None
    auprc: float | None
    tpr_at_1pct_fpr: float | None
    fpr: float | None
    ece: float | None
    within_prompt: float | None
    """Share of harmful/safe pairs of one prompt ranked rightly; without an interval."""
    intervals: dict[str, tuple[float, float] | None]
    """95% bootstrap interval of each metric."""
    baselines: dict[str, BaselineReport]


class EvaluationReport(BaseModel):
    """Figures of one detector at one threshold."""

    model_config = ConfigDict(frozen=True)

    detector: str
    threshold: float
    sets: dict[str, SetReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """Labelled records under one name."""

    name: str
    files: tuple[Path, ...]


def find_sets(paths: Sequence[Path]) -> list[EvaluationSet]:
    """Groups record files into sets: a file given by itself is a set, and so is every directory that holds files.

    Raises:
        RecordError: a path does not exist or holds no record file.
    """
    files_by_name: dict[str, list[Path]] = {}
    for path in paths:
        for file in find_record_files(path):
            name = file.name.split(".jsonl")[0] if path.is_file() else file.parent.name
            files = files_by_name.setdefault(name, [])
            if file not in files:
                files.append(file)
    return [EvaluationSet(name=name, files=tuple(files)) for name, files in files_by_name.items()]


def to_exchange(record: LabelledRecord) -> Exchange:
    """Makes the exchange that the record's label is about: an answer with its prompt, else the text or prompt alone."""
    if record.response:
        return Exchange(prompt=record.prompt, response=record.response)
    return Exchange(prompt="", response=record.text or record.prompt)


def evaluate_set(
    detector: Assesses, evaluation_set: EvaluationSet, *, threshold: float, report_rows: Callable[[int], None]
) -> SetReport:
    """Scores the labelled rows of a set.

    Args:
        detector: what is evaluated.
        evaluation_set: the set.
        threshold: harmfulness from which on a row counts as flagged.
        report_rows: called with the number of rows done since the last call.

    Raises:
        RecordError: a line is no record; names file and line.
    """
    records = [record for file in evaluation_set.files for record in read_records(file)]
    labelled = [record for record in records if record.label is not None]
    scored: list[LabelledRecord] = []
    scores: list[float] = []
    for start in range(0, len(labelled), _BATCH_SIZE):
        batch = labelled[start : start + _BATCH_SIZE]
        for record, outcome in zip(batch, detector.assess([to_exchange(row) for row in batch]), strict=True):
            if isinstance(outcome, Assessment):
                scored.append(record)
                scores.append(outcome.harmfulness)
        report_rows(len(batch))
    return summarise(
        scored,
        np.array(scores, dtype=np.float64),
        threshold=threshold,
        num_failed=len(labelled) - len(scored),
        num_unlabelled=len(records) - len(labelled),
    )


def summarise(
    records: Sequence[LabelledRecord], scores_N: Scores, *, threshold: float, num_failed: int, num_unlabelled: int
) -> SetReport:
    """Computes every metric of scored rows."""
    labels_N: Labels = np.array([record.label == 1 for record in records], dtype=np.bool_)
    defined: dict[str, Metric] = {
        "f1": partial(metrics.f1_at, threshold=threshold),
        "precision": partial(metrics.precision_at, threshold=threshold),
        "recall": partial(metrics.recall_at, threshold=threshold),
        "auroc": metrics.auroc,
        "auprc": metrics.auprc,
        "tpr_at_1pct_fpr": partial(metrics.tpr_at_fpr, max_fpr=0.01),
        "fpr": partial(metrics.fpr_at, threshold=threshold),
        "ece": metrics.expected_calibration_error,
    }
    estimates = {
        name: estimate(metric, labels_N, scores_N, num_resamples=_NUM_RESAMPLES, seed=_SEED)
        for name, metric in defined.items()
    }
    responses = [to_exchange(record).response for record in records]
    within_prompt = metrics.rank_within_prompts(
        [record.prompt if record.response else "" for record in records], labels_N, scores_N
    )
    return SetReport.model_validate(
        {name: found.value for name, found in estimates.items()}
        | {
            "n": len(records),
            "harmful": int(labels_N.sum()),
            "failed": num_failed,
            "unlabelled": num_unlabelled,
            "within_prompt": within_prompt,
            "intervals": {
                name: None if found.interval is None else (found.interval.low, found.interval.high)
                for name, found in estimates.items()
            },
            "baselines": {
                name: BaselineReport(f1=row.f1, auroc=row.auroc)
                for name, row in score_baselines(responses, labels_N).items()
            },
        }
    )
