"""The recipe of the edit model: fine-tune a small encoder to tag words, with fixed seeds, resumable.

Shapes: B sentences, T tokens, K edit tags, N pairs of a word and a tag, W distinct words among them.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from protector_models.training.detoxification.edit_batches import EditBatch, EncodedEdits, EpochDraw, draw_epoch
from protector_models.training.detoxification.edit_network import EditLogits, EditNetwork
from protector_models.training.detoxification.edit_restart import load_served_weights
from protector_models.training.optimisation import LoopPlan, StepCost, run_steps
from protector_models.training.resumable import Run, TrainingProgress, learning_rate_factor


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRecipe:
    """Every choice of a run; two runs with equal recipes and data see the same batches in the same order."""

    seed: int = 17
    start: str = ""
    """Hash of the served model that the run goes on from; empty: it begins with the encoder."""
    num_steps: int = 3_700
    """Optimiser steps of one batch each: five passes over the toxic sentences."""
    batch_size: int = 32
    num_neutral: int = 3_000
    """Rewrites by people that stand in each pass as sentences to be kept."""
    num_safe: int = 3_000
    """Sentences of safe answers in each pass, likewise."""
    num_judged: int = 1_500
    """Posts in each pass that are known to be toxic or not, and no more."""
    num_spoilt: int = 6_000
    """Sentences in each pass that edits left half done, or broke."""
    num_kept: int = 1_500
    """Harmless sentences with names, groups of people and alarming words in each pass."""
    innocent_repeats: int = 2
    """How often each innocent sentence stands in a pass."""
    careful_repeats: int = 3
    """How often each toxic sentence does that was edited for this project."""
    min_tag_weight: float = 1.5
    """Rewrites that have to ask for a tag before it is learned; those of a machine count less."""
    encoder_lr: float = 2e-4
    head_lr: float = 1e-3
    dropout: float = 0.1
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    """Share of the steps in which the learning rate rises linearly from 0; afterwards it falls linearly to 0."""
    max_gradient_norm: float = 1.0
    edit_loss_weight: float = 3.0
    tag_loss_weight: float = 2.0
    toxic_loss_weight: float = 0.3
    fluent_loss_weight: float = 0.3
    validation_percent: int = 5
    careful_validation_percent: int = 20
    """Of the sentences written for this project: there are fewer of them."""
    checkpoint_every: int = 100
    """Steps between resumable checkpoints."""


def go_on_from(start: str) -> EditRecipe:
    """Returns the recipe of a short run that goes on from a served model: to teach it what few sentences show.

    These sentences stand in it more often than they do in a run from the encoder, which sees each more often.
    """
    return EditRecipe(
        start=start,
        num_steps=800,
        encoder_lr=1e-4,
        head_lr=5e-4,
        num_neutral=1_800,
        num_safe=1_500,
        num_judged=1_000,
        num_spoilt=3_600,
        num_kept=1_200,
        innocent_repeats=6,
        careful_repeats=8,
    )


def train_edit_network(
    edits: EncodedEdits,
    *,
    encoder_directory: Path,
    start_directory: Path | None,
    checkpoint_directory: Path,
    recipe: EditRecipe,
    report: Callable[[TrainingProgress], None],
) -> EditNetwork:
    """Trains one edit model, going on from the checkpoint of an interrupted run of the same recipe if there is one.

    Args:
        edits: the encoded sentences.
        encoder_directory: the pretrained encoder in Hugging Face form.
        start_directory: the served model that the run goes on from, if there is one.
        checkpoint_directory: where `checkpoint.pt` is kept.
        recipe: the choices of the run.
        report: called after each step; may not block for long.

    Returns:
        The trained network in evaluation mode.

    Raises:
        CheckpointError: the served model is damaged, or of another form.
        ValueError: the directory holds a checkpoint of another recipe.
        FloatingPointError: the loss became NaN or infinite.
    """
    torch.manual_seed(recipe.seed)
    network = EditNetwork.from_pretrained(
        encoder_directory, num_tags=len(edits.tag_names), dropout=recipe.dropout
    ).train()
    if start_directory is not None:
        load_served_weights(network, start_directory, edits.tag_names)
    optimizer = _make_optimizer(network, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: learning_rate_factor(step, num_steps=recipe.num_steps, warmup_share=recipe.warmup_share),
    )

    def backpropagate(step: int, batch: EditBatch) -> StepCost:
        # Dropout is decided by seed and step, so that a run that was interrupted gives what an unbroken one gives.
        torch.manual_seed(recipe.seed + step)
        loss = edit_loss(network(batch.ids_BT, batch.mask_BT), batch, recipe)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return StepCost(loss=loss.item(), num_tokens=batch.ids_BT.numel())

    run_steps(
        Run(network=network, optimizer=optimizer, schedule=schedule),
        _draw_batches(edits, recipe),
        backpropagate,
        plan=LoopPlan(
            num_steps=recipe.num_steps,
            max_gradient_norm=recipe.max_gradient_norm,
            checkpoint_every=recipe.checkpoint_every,
            choices=asdict(recipe) | {"num_tags": len(edits.tag_names)},
            checkpoint_directory=checkpoint_directory,
        ),
        report=report,
    )
    return network.eval()


def edit_loss(logits: EditLogits, batch: EditBatch, recipe: EditRecipe) -> Tensor:
    """Sums the losses of the heads: whether a word is edited, how, and what the sentence as a whole is.

    Targets of words are shares of rewrites, so that the model learns how far people agree; their losses are means over
    the words.
    """
    num_words = batch.words_BT.sum().clamp(min=1.0)
    edited_BT = functional.binary_cross_entropy_with_logits(logits.edit_BT, batch.edited_BT, reduction="none")
    edited = (edited_BT * batch.words_BT).sum() / num_words
    places_W, rows_N = torch.unique(batch.tag_places_N, return_inverse=True)
    log_probabilities_WK = functional.log_softmax(logits.tags_BTK.flatten(0, 1)[places_W], dim=-1)
    tags = -(log_probabilities_WK[rows_N, batch.tag_ids_N] * batch.tag_shares_N).sum() / num_words
    return (
        recipe.edit_loss_weight * edited
        + recipe.tag_loss_weight * tags
        + recipe.toxic_loss_weight * _known_loss(logits.toxic_B, batch.toxic_B)
        + recipe.fluent_loss_weight * _known_loss(logits.fluent_B, batch.fluent_B)
    )


def _known_loss(logits_B: Tensor, labels_B: Tensor) -> Tensor:
    known = ~torch.isnan(labels_B)
    if not bool(known.any()):
        return logits_B.sum() * 0.0
    return functional.binary_cross_entropy_with_logits(logits_B[known], labels_B[known])


def _draw_batches(edits: EncodedEdits, recipe: EditRecipe) -> Iterator[EditBatch]:
    """Yields batches for ever, pass after pass, decided by the seed alone."""
    rng = random.Random(recipe.seed)
    draw = EpochDraw(
        num_neutral=recipe.num_neutral,
        num_safe=recipe.num_safe,
        num_judged=recipe.num_judged,
        num_spoilt=recipe.num_spoilt,
        num_kept=recipe.num_kept,
        innocent_repeats=recipe.innocent_repeats,
        careful_repeats=recipe.careful_repeats,
    )
    while True:
        yield from draw_epoch(edits, draw, batch_size=recipe.batch_size, rng=rng)


def _make_optimizer(network: EditNetwork, recipe: EditRecipe) -> torch.optim.AdamW:
    heads = (network.edit_head, network.tag_head, network.toxic_head, network.fluent_head)
    groups = [
        {
            "params": [parameter for parameter in network.encoder.parameters() if parameter.requires_grad],
            "lr": recipe.encoder_lr,
        },
        {"params": [parameter for head in heads for parameter in head.parameters()], "lr": recipe.head_lr},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
