"""From a base model and labelled answers to an adapter with description and card, which detectors are loaded from."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
import yaml
from peft import TaskType

from protector_models.checkpoints.cards import hash_file
from protector_models.checkpoints.model_folders import ADAPTER_FILES, hash_folder
from protector_models.checkpoints.trained_adapters import AdapterCard
from protector_models.descriptions.checkpoint_description import (
    CheckpointDescription,
    ClassificationHead,
    ReadingWindow,
)
from protector_models.detectors.classifiers.classifier_detector import ClassifierDetector, input_maker
from protector_models.detectors.classifiers.loading import load_base_classifier
from protector_models.records.examples import Example, ExampleSplit
from protector_models.settings import DetectorSettings, Device, Dtype
from protector_models.training.adapter_training import (
    AdapterProgress,
    add_adapter,
    start_accelerator,
    train_adapter,
)
from protector_models.training.detector.answer_pairs import pair_answers
from protector_models.training.detector.held_out import assess_rows, select_answers, summarise_rows
from protector_models.training.detector.lora_detector import TEMPLATE, LoraDetectorRecipe, encode_units, make_objective
from protector_models.training.detector.thresholds import MAX_BENIGN_FPR, choose_threshold

NAME = "lora-detector"
DESCRIPTION_FILE = "description.yaml"
LORA_THRESHOLD_RULE = (
    f"best F1 on the held-out answers among thresholds that flag at most {MAX_BENIGN_FPR:.0%} of those of ordinary "
    "sets, or of all safe ones where there is no ordinary set"
)

_HEAD = ClassificationHead(kind="classification", template=TEMPLATE, activation="sigmoid", polarity="harmful")


def train_lora_detector(
    base_directory: Path,
    answers: ExampleSplit,
    *,
    directory: Path,
    recipe: LoraDetectorRecipe,
    device: Device,
    dtype: Dtype,
    num_steps: int | None,
    num_threads: int,
    progress: AdapterProgress,
) -> AdapterCard | None:
    """Trains an adapter on a base model and writes it, with description and card, into a directory.

    Args:
        base_directory: a model of transformers that it loads as a sequence classifier, with weights as safetensors.
        answers: what to learn from, and the held-out slice that the threshold is chosen on.
        directory: made if it does not exist; `checkpoint/` in it holds what an interrupted run goes on from.
        recipe: the choices of the run.
        device: where to compute.
        dtype: of the base's weights, and of matrix products; the adapter's own weights are float32.
        num_steps: optimiser steps; None: the recipe's epochs.
        num_threads: CPU threads of the scoring.
        progress: hears of the run.

    Returns:
        The card; None in all processes but the first, which alone measures and writes.

    Raises:
        ConfigurationError: the base cannot be loaded.
        ValueError: there is nothing to train or to choose on, the directory holds a checkpoint of another run, or
            device and dtype cannot be used.
        FloatingPointError: the loss became NaN or infinite.
    """
    accelerator = start_accelerator(device, dtype)
    settings = DetectorSettings(
        kind="transformers",
        model=str(base_directory),
        description=str(directory / DESCRIPTION_FILE),
        device=device,
        dtype=dtype,
    )
    base_digest = hash_folder(base_directory)
    units = pair_answers(answers.training, seed=recipe.seed)
    held_out = _require_both_labels(select_answers(answers.validation))
    # A language model's layer for the logit is new.
    torch.manual_seed(recipe.seed)
    base = load_base_classifier(settings)
    training = encode_units(units, input_maker(base.tokenizer, _HEAD), max_tokens=recipe.max_tokens)
    steps = recipe.count_steps(len(training)) if num_steps is None else num_steps
    progress.start(steps, len(held_out))
    model = add_adapter(base.model, recipe, TaskType.SEQ_CLS)
    train_adapter(
        model,
        training,
        make_objective(base.tokenizer, recipe),
        accelerator=accelerator,
        recipe=recipe,
        num_steps=steps,
        choices=asdict(recipe)
        | {"template": TEMPLATE, "base": base_digest, "num_steps": steps, "num_examples": len(training)},
        checkpoint_directory=directory / "checkpoint",
        report=progress.step,
    )
    if not accelerator.is_main_process:
        return None
    model.save_pretrained(str(directory))
    sizes: dict[str, float | int | None] = {
        "num_training": len(training),
        "num_training_pairs": sum(len(unit.answers) == 2 for unit in training),
        "num_training_too_long": len(units) - len(training),
    }
    # The detector is loaded from its files: both need not be on the device.
    del model, base
    accelerator.free_memory()
    threshold, figures = _measure(directory, settings, recipe, held_out, num_threads=num_threads, progress=progress)
    _write_description(directory, recipe, base_directory, threshold=threshold)
    card = AdapterCard(
        name=NAME,
        files={name: hash_file(directory / name) for name in ADAPTER_FILES},
        recipe=asdict(recipe) | {"num_steps": steps, "dtype": dtype, "threshold_rule": LORA_THRESHOLD_RULE},
        validation=sizes | {"threshold": threshold} | figures,
        layout=TEMPLATE,
        base=base_directory.name,
        base_digest=base_digest,
    )
    card.save(directory)
    return card


def _measure(
    directory: Path,
    settings: DetectorSettings,
    recipe: LoraDetectorRecipe,
    held_out: Sequence[Example],
    *,
    num_threads: int,
    progress: AdapterProgress,
) -> tuple[float, dict[str, float | int | None]]:
    """Returns the threshold and the figures of the held-out slice, by the detector as it is served."""
    served = settings.model_copy(update={"adapter": str(directory)})
    description = _describe(recipe, Path(settings.model or ""), threshold=0.5)
    detector = ClassifierDetector.load(served, description, num_threads=num_threads)
    rows = held_out
    if not any(row.is_benign_set for row in rows):
        rows = [replace(row, is_benign_set=row.harmful == 0.0) for row in rows]
    scores = [found.harmfulness for found in assess_rows(detector, rows, report_rows=progress.measured)]
    choice = choose_threshold(rows, scores)
    return choice.threshold, summarise_rows(rows, scores, choice)


def _describe(recipe: LoraDetectorRecipe, base_directory: Path, *, threshold: float) -> CheckpointDescription:
    return CheckpointDescription(
        name=NAME,
        about=f"A LoRA adapter on {base_directory.name} that weir train detector --recipe lora wrote.",
        base=base_directory.name,
        head=_HEAD,
        window=ReadingWindow(max_tokens=recipe.max_tokens),
        threshold=threshold,
    )


def _write_description(directory: Path, recipe: LoraDetectorRecipe, base_directory: Path, *, threshold: float) -> None:
    content = _describe(recipe, base_directory, threshold=threshold).model_dump(mode="json", exclude_defaults=True)
    (directory / DESCRIPTION_FILE).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _require_both_labels(rows: Sequence[Example]) -> Sequence[Example]:
    """Refuses a slice that no threshold can be chosen on, before the training and not after it."""
    num_harmful = sum(row.harmful == 1.0 for row in rows)
    if num_harmful in (0, len(rows)):
        raise ValueError(f"held-out slice: expected answers of both labels, got {num_harmful} harmful of {len(rows)}")
    return rows
