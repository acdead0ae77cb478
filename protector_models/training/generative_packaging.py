"""From a base model and labelled records to an adapter with its card, which the generative detoxifier loads."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from protector_models.adapter_cards import AdapterCard
from protector_models.checkpoints import hash_file
from protector_models.language_model_files import ADAPTER_FILES, hash_folder
from protector_models.language_model_loading import DTYPES, BaseModel, load_base_model
from protector_models.rewrite_prompts import REWRITE_LAYOUT
from protector_models.settings import Device, Dtype
from protector_models.training.generative_batches import EncodedAnswer, encode_answers
from protector_models.training.generative_recipe import (
    GenerativeRecipe,
    add_adapter,
    measure_loss,
    train_adapter,
)
from protector_models.training.resumable import TrainingProgress
from protector_models.training.rewritten_answers import RewrittenAnswers

ADAPTER_NAME = "answer-rewriter"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerativeProgress:
    """What hears of a run; none of them may block for long."""

    start: Callable[[int, int], None]
    """The steps of the training, and the examples whose loss is measured, before and after together."""
    step: Callable[[TrainingProgress], None]
    measured: Callable[[int], None]
    """The number of examples measured since the last call."""


def train_answer_rewriter(
    base_directory: Path,
    answers: RewrittenAnswers,
    *,
    directory: Path,
    recipe: GenerativeRecipe,
    device: Device,
    dtype: Dtype,
    num_steps: int | None,
    progress: GenerativeProgress,
) -> AdapterCard:
    """Trains an adapter on a base model and writes it, with a card, into a directory.

    Args:
        base_directory: a causal or sequence-to-sequence model of transformers, with weights as safetensors.
        answers: what to learn from, and the held-out slice whose loss is measured before and after.
        directory: made if it does not exist; `checkpoint/` in it holds what an interrupted run goes on from.
        recipe: the choices of the run.
        device: where to compute.
        dtype: of the base's weights; the adapter's own are float32.
        num_steps: optimiser steps; None: the recipe's epochs.
        progress: hears of the run.

    Raises:
        ConfigurationError: the base cannot be loaded.
        ValueError: there is nothing to train on, or the directory holds a checkpoint of another run.
        FloatingPointError: the loss became NaN or infinite.
    """
    base_digest = hash_folder(base_directory)
    base = load_base_model(base_directory, dtype=DTYPES[dtype])
    training = encode_answers(answers.training, base, max_tokens=recipe.max_tokens)
    held_out = encode_answers(answers.held_out, base, max_tokens=recipe.max_tokens)
    steps = recipe.count_steps(len(training)) if num_steps is None else num_steps
    progress.start(steps, 2 * len(held_out))
    model = add_adapter(base, recipe)
    model.to(device)
    pad_id = _find_padding(base)
    losses_before = _measure(model, held_out, pad_id, recipe, progress)
    train_adapter(
        model,
        training,
        pad_id=pad_id,
        device=device,
        num_steps=steps,
        checkpoint_directory=directory / "checkpoint",
        recipe=recipe,
        base_digest=base_digest,
        report=progress.step,
    )
    losses_after = _measure(model, held_out, pad_id, recipe, progress)
    model.save_pretrained(str(directory))
    card = AdapterCard(
        name=ADAPTER_NAME,
        files={name: hash_file(directory / name) for name in ADAPTER_FILES},
        recipe=asdict(recipe) | {"num_steps": steps, "dtype": dtype},
        validation={
            "num_training": len(training),
            "num_training_too_long": len(answers.training) - len(training),
            "num_held_out": len(held_out),
            **{f"{name}_before": loss for name, loss in losses_before.items()},
            **{f"{name}_after": loss for name, loss in losses_after.items()},
        },
        layout=REWRITE_LAYOUT,
        base=base_directory.name,
        base_digest=base_digest,
    )
    card.save(directory)
    return card


def _measure(
    model: Any, held_out: list[EncodedAnswer], pad_id: int, recipe: GenerativeRecipe, progress: GenerativeProgress
) -> dict[str, float | None]:
    """Returns the mean loss of a target's token, of rewrites and of answers that are to stay."""
    return {
        name: measure_loss(
            model,
            [example for example in held_out if example.is_identity is is_identity],
            pad_id=pad_id,
            micro_batch_size=recipe.micro_batch_size,
            report_examples=progress.measured,
        )
        for name, is_identity in (("held_out_loss", False), ("held_out_identity_loss", True))
    }


def _find_padding(base: BaseModel) -> int:
    """Returns the token that fills up; masked out wherever it stands, so that the end will do where there is none."""
    found = base.tokenizer.pad_token_id if base.tokenizer.pad_token_id is not None else base.tokenizer.eos_token_id
    assert isinstance(found, int)
    return found
