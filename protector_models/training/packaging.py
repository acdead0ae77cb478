"""From a trained network to a weights directory that the service loads: export, int8, threshold, card."""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from protector_models.checkpoints import CheckpointCard, hash_file
from protector_models.evaluation.metrics import auroc, fpr_at, tpr_at_fpr
from protector_models.harm_detector import OnnxHarmDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.verdict import Assessment
from protector_models.prompts import PAIR_LAYOUT
from protector_models.training.batches import CutPlan
from protector_models.training.category_map import TRAINED_CATEGORIES
from protector_models.training.detector_network import DetectorNetwork
from protector_models.training.detector_recipe import DetectorRecipe
from protector_models.training.examples import Example
from protector_models.training.export import copy_tokenizer, export_fp32, quantise
from protector_models.training.sources import RowKind
from protector_models.training.thresholds import MAX_BENIGN_FPR, ThresholdChoice, choose_threshold

DETECTOR_NAME = "weir-minilm"
ENCODER_WEIGHTS_FILE = "model.safetensors"

_BATCH_SIZE = 64


def package_detector(
    network: DetectorNetwork,
    validation: Sequence[Example],
    *,
    encoder_directory: Path,
    directory: Path,
    recipe: DetectorRecipe,
    num_threads: int,
    report_rows: Callable[[int], None],
) -> CheckpointCard:
    """Writes model.onnx, tokenizer.json and card.json into a directory; the threshold is chosen on the int8 weights.

    Args:
        network: the trained network.
        validation: held-out examples; answers with a label are scored through the served detector.
        encoder_directory: where the tokenizer lies.
        directory: made if it does not exist; an fp32 graph is left beside the int8 one for comparisons.
        recipe: the choices of the run, written into the card.
        num_threads: of the scoring.
        report_rows: called with the number of rows scored since the last call.

    Raises:
        ValueError: the held-out slice cannot give a threshold.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = [quantise(export_fp32(network, directory), directory), copy_tokenizer(encoder_directory, directory)]
    card = CheckpointCard(
        name=DETECTOR_NAME,
        layout=PAIR_LAYOUT,
        files={file.name: hash_file(file) for file in files},
        categories=TRAINED_CATEGORIES,
        threshold=0.5,
        threshold_rule="not chosen yet",
        recipe=asdict(recipe)
        | asdict(CutPlan())
        | {"encoder_sha256": hash_file(encoder_directory / ENCODER_WEIGHTS_FILE)},
        validation={},
    )
    # Saved once without a threshold: the slice is scored by the detector as it will be served, which reads the card.
    card.save(directory)
    detector = OnnxHarmDetector.load(directory, num_threads=num_threads)
    rows = select_scored(validation)
    scores = score_rows(detector, rows, report_rows=report_rows)
    choice = choose_threshold(rows, scores)
    card = card.model_copy(
        update={
            "threshold": choice.threshold,
            "threshold_rule": (
                f"best F1 on the held-out answers among thresholds that flag at most {MAX_BENIGN_FPR:.0%} "
                "of the held-out answers of ordinary sets, on the int8 weights"
            ),
            "validation": summarise_validation(rows, scores, choice),
        }
    )
    card.save(directory)
    return card


def select_scored(validation: Sequence[Example]) -> list[Example]:
    """Returns the held-out answers with a person's or a judge's label; preferences and lone texts are left out."""
    rows = [row for row in validation if row.kind is RowKind.ANSWER and row.harmful is not None]
    # Sets follow each other in the split; a fixed shuffle makes progress even.
    random.Random(0).shuffle(rows)
    return rows


def score_rows(
    detector: OnnxHarmDetector, rows: Sequence[Example], *, report_rows: Callable[[int], None]
) -> list[float]:
    """Returns harmfulness per row.

    Raises:
        ValueError: the detector gave no score for a row.
    """
    scores: list[float] = []
    for start in range(0, len(rows), _BATCH_SIZE):
        batch = rows[start : start + _BATCH_SIZE]
        for outcome in detector.assess([Exchange(prompt=row.prompt, response=row.response) for row in batch]):
            if not isinstance(outcome, Assessment):
                raise ValueError(f"a held-out row has no score: {outcome.error}")
            scores.append(outcome.harmfulness)
        report_rows(len(batch))
    return scores


def summarise_validation(
    rows: Sequence[Example], scores: Sequence[float], choice: ThresholdChoice
) -> dict[str, float | int | None]:
    """Returns the figures of the held-out slice that the card carries; AUROC by group of sources as well."""
    scores_N = np.array(scores, dtype=np.float64)
    labels_N = np.array([row.harmful == 1.0 for row in rows])
    groups_N = np.array([row.group for row in rows])
    figures: dict[str, float | int | None] = {
        "n": len(rows),
        "harmful": int(labels_N.sum()),
        "f1": choice.f1,
        "benign_fpr": choice.benign_fpr,
        "fpr": fpr_at(labels_N, scores_N, choice.threshold),
        "auroc": auroc(labels_N, scores_N),
        "tpr_at_1pct_fpr": tpr_at_fpr(labels_N, scores_N, 0.01),
    }
    for group in sorted(set(groups_N.tolist())):
        figures[f"auroc_{group}"] = auroc(labels_N[groups_N == group], scores_N[groups_N == group])
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
