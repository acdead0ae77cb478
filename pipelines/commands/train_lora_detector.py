"""`weir train detector --recipe lora`: an adapter that makes a harm detector out of a language model."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.commands.training_bars import adapter_bars
from protector_models.settings import Device, Dtype

if TYPE_CHECKING:
    from protector_models.checkpoints.trained_adapters import AdapterCard


def train_lora(
    base: Path,
    data: Path,
    out: Path,
    *,
    changes: dict[str, Any],
    num_threads: int,
    num_steps: int | None,
    device: Device,
    dtype: Dtype,
) -> "AdapterCard | None":
    """Train an adapter and return its card, None in all processes of a run but the first.

    Args:
        base: folder of the base model.
        data: directory of labelled answers.
        out: where adapter, description, card and checkpoint go.
        changes: fields of the recipe that are not the paper's.
        num_threads: CPU threads.
        num_steps: optimiser steps; None: the recipe's epochs.
        device: where to compute.
        dtype: of the base's weights and of matrix products.

    Raises:
        ConfigurationError: the base cannot be loaded.
        ValueError: data, checkpoint, device or dtype cannot be used.
    """
    # Imported here, not above: torch takes seconds, and every other command would pay for it.
    from protector_models.training.detector.answer_pairs import load_answers  # noqa: PLC0415
    from protector_models.training.detector.lora_detector import LoraDetectorRecipe  # noqa: PLC0415
    from protector_models.training.detector.lora_detector_packaging import train_lora_detector  # noqa: PLC0415
    from protector_models.training.resumable import set_threads  # noqa: PLC0415

    recipe = replace(LoraDetectorRecipe(), **changes)
    set_threads(num_threads)
    answers = load_answers(data, validation_percent=recipe.validation_percent, seed=recipe.seed)
    with adapter_bars() as progress:
        return train_lora_detector(
            base,
            answers,
            directory=out,
            recipe=recipe,
            device=device,
            dtype=dtype,
            num_steps=num_steps,
            num_threads=num_threads,
            progress=progress,
        )
