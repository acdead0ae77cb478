"""From a base model and labelled records to an adapter with its card, which the generative detoxifier loads."""

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from peft import TaskType

from protector_models.checkpoints.cards import hash_file
from protector_models.checkpoints.model_folders import ADAPTER_FILES, hash_folder
from protector_models.checkpoints.trained_adapters import AdapterCard
from protector_models.detoxification.rewrite_prompts import REWRITE_LAYOUT
from protector_models.settings import Device, Dtype
from protector_models.training.adapter_training import AdapterProgress, add_adapter, start_accelerator, train_adapter
from protector_models.training.detoxification.generative_batches import EncodedAnswer, encode_answers
from protector_models.training.detoxification.generative_recipe import (
    GenerativeRecipe,
    ModelForm,
    make_objective,
    measure_loss,
)
from protector_models.training.detoxification.rewritten_answers import RewrittenAnswer, RewrittenAnswers
from protector_models.transformer_models.base_models import DTYPES, load_base_model

ADAPTER_NAME = "answer-rewriter"


def train_answer_rewriter(
    base_directory: Path,
    answers: RewrittenAnswers,
    *,
    directory: Path,
    recipe: GenerativeRecipe,
    device: Device,
    dtype: Dtype,
    num_steps: int | None,
    progress: AdapterProgress,
) -> AdapterCard:
    """Trains an adapter on a base model and writes it, with a card, into a directory.

    Args:
        base_directory: a causal or sequence-to-sequence model of transformers, with weights as safetensors.
        answers: what to learn from, and the held-out slice whose loss is measured before and after.
        directory: made if it does not exist; `checkpoint/` in it holds what an interrupted run goes on from.
        recipe: the choices of the run.
        device: where to compute.
        dtype: of the base's weights, and of matrix products; the adapter's own weights are float32.
        num_steps: optimiser steps; None: the recipe's epochs.
        progress: hears of the run.

    Raises:
        ConfigurationError: the base cannot be loaded.
        ValueError: there is nothing to train on, the directory holds a checkpoint of another run, or device and dtype
            cannot be used.
        FloatingPointError: the loss became NaN or infinite.
    """
    accelerator = start_accelerator(device, dtype)
    base_digest = hash_folder(base_directory)
    base = load_base_model(base_directory, dtype=DTYPES[dtype])
    form = ModelForm.of(base)

    def encode(examples: Sequence[RewrittenAnswer]) -> list[EncodedAnswer]:
        return encode_answers(examples, base, max_tokens=recipe.max_tokens, max_target_tokens=recipe.max_target_tokens)

    training, held_out = encode(answers.training), encode(answers.held_out)
    if len(held_out) > recipe.max_held_out:
        held_out = random.Random(recipe.seed).sample(held_out, recipe.max_held_out)
    steps = recipe.count_steps(len(training)) if num_steps is None else num_steps
    progress.start(steps, 2 * len(held_out))
    model = add_adapter(base.model, recipe, TaskType.CAUSAL_LM if form.is_causal else TaskType.SEQ_2_SEQ_LM)
    model.to(accelerator.device)

    def measure() -> dict[str, float | None]:
        """Returns the mean loss of a target's token, of rewrites and of answers that are to stay."""
        return {
            name: measure_loss(
                model,
                [example for example in held_out if example.is_identity is is_identity],
                form,
                micro_batch_size=recipe.micro_batch_size,
                report_examples=progress.measured,
            )
            for name, is_identity in (("held_out_loss", False), ("held_out_identity_loss", True))
        }

    losses_before = measure()
    train_adapter(
        model,
        training,
        make_objective(form),
        accelerator=accelerator,
        recipe=recipe,
        num_steps=steps,
        choices=asdict(recipe)
        | {"layout": REWRITE_LAYOUT, "base": base_digest, "num_steps": steps, "num_examples": len(training)},
        checkpoint_directory=directory / "checkpoint",
        report=progress.step,
    )
    losses_after = measure()
    if accelerator.is_main_process:
        model.save_pretrained(str(directory))
    accelerator.wait_for_everyone()
    card = AdapterCard(
        name=ADAPTER_NAME,
        files={name: hash_file(directory / name) for name in ADAPTER_FILES},
        recipe=asdict(recipe) | {"num_steps": steps, "dtype": dtype},
        validation={
            "num_training": len(training),
            "num_training_identity": sum(example.is_identity for example in training),
            "num_training_too_long": len(answers.training) - len(training),
            "num_held_out": len(held_out),
            **{f"{name}_before": loss for name, loss in losses_before.items()},
            **{f"{name}_after": loss for name, loss in losses_after.items()},
        },
        layout=REWRITE_LAYOUT,
        base=base_directory.name,
        base_digest=base_digest,
    )
    if accelerator.is_main_process:
        card.save(directory)
    return card
