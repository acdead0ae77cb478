"""The recipe of the harm detector: fine-tune a small encoder on the mix, with fixed seeds, resumable.

Shapes: B windows, T tokens, C trained categories.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from protector_models.detectors.prompts import PAIR_LAYOUT, PairLayout
from protector_models.training.batches import (
    Batch,
    CutPlan,
    EncodedExample,
    draw_epoch,
    draw_pairs,
    group_by_prompt,
)
from protector_models.training.detector_network import DetectorNetwork, HeadLogits
from protector_models.training.optimisation import LoopPlan, StepCost, run_steps
from protector_models.training.resumable import Run, TrainingProgress, learning_rate_factor
from protector_models.training.sources import RowKind


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRecipe:
    """Every choice of a run; two runs with equal recipes and data see the same batches in the same order."""

    seed: int = 17
    num_steps: int = 3_300
    """Optimiser steps of one batch each; three of four are drawn from the mix: about one and a quarter passes."""
    batch_size: int = 32
    pairs_every: int = 4
    """Each such step is a batch of harmful and safe answers to the same prompts."""
    rank_loss_weight: float = 1.0
    """Of -log sigmoid(difference of the pair's logits), beside the loss of each answer."""
    encoder_lr: float = 1e-4
    head_lr: float = 1e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    """Share of the steps in which the learning rate rises linearly from 0; afterwards it falls linearly to 0."""
    max_gradient_norm: float = 1.0
    alone_loss_weight: float = 0.5
    category_loss_weight: float = 0.3
    validation_percent: int = 8
    checkpoint_every: int = 100
    """Steps between resumable checkpoints."""


def train_detector(
    rows: Sequence[EncodedExample],
    layout: PairLayout,
    *,
    encoder_directory: Path,
    checkpoint_directory: Path,
    recipe: DetectorRecipe,
    report: Callable[[TrainingProgress], None],
) -> DetectorNetwork:
    """Trains one detector, going on from the checkpoint of an interrupted run of the same recipe if there is one.

    Args:
        rows: encoded training rows.
        layout: joins prompt and response.
        encoder_directory: the pretrained encoder in Hugging Face form.
        checkpoint_directory: where `checkpoint.pt` is kept.
        recipe: the choices of the run.
        report: called after each step; may not block for long.

    Returns:
        The trained network in evaluation mode.

    Raises:
        ValueError: the directory holds a checkpoint of another recipe.
        FloatingPointError: the loss became NaN or infinite.
    """
    torch.manual_seed(recipe.seed)
    network = DetectorNetwork.from_pretrained(encoder_directory).train()
    optimizer = _make_optimizer(network, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, num_steps=recipe.num_steps, warmup_share=recipe.warmup_share)
    )

    def backpropagate(_: int, batch: Batch) -> StepCost:
        loss = multitask_loss(network(batch.ids_BT, batch.mask_BT, batch.segments_BT), batch, recipe)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return StepCost(loss=loss.item(), num_tokens=batch.ids_BT.numel())

    run_steps(
        Run(network=network, optimizer=optimizer, schedule=schedule),
        draw_batches(rows, layout, recipe),
        backpropagate,
        plan=LoopPlan(
            num_steps=recipe.num_steps,
            max_gradient_norm=recipe.max_gradient_norm,
            checkpoint_every=recipe.checkpoint_every,
            choices=_describe(recipe),
            checkpoint_directory=checkpoint_directory,
        ),
        report=report,
    )
    return network.eval()


def load_training_tokenizer(encoder_directory: Path) -> Tokenizer:
    """Loads the encoder's tokenizer without its own cutting and padding, which the layout decides."""
    tokenizer: Tokenizer = Tokenizer.from_file(str(encoder_directory / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def draw_batches(rows: Sequence[EncodedExample], layout: PairLayout, recipe: DetectorRecipe) -> Iterator[Batch]:
    """Yields batches for ever, epoch after epoch with batches of pairs between, decided by the seed alone.

    Raises:
        ValueError: no prompt has a harmful and a safe answer.
    """
    rng = random.Random(recipe.seed)
    prompts = group_by_prompt(rows)
    if not prompts:
        raise ValueError("no prompt of the mix has a harmful and a safe answer: nothing to rank")
    pairs = draw_pairs(prompts, layout, CutPlan(), batch_size=recipe.batch_size, rng=random.Random(recipe.seed + 1))
    labelled = [row for row in rows if row.example.kind is not RowKind.PREFERENCE]
    step = 0
    while True:
        for batch in draw_epoch(labelled, layout, CutPlan(), batch_size=recipe.batch_size, rng=rng):
            step += 1
            if step % recipe.pairs_every == 0:
                yield next(pairs)
                step += 1
            yield batch


def multitask_loss(logits: HeadLogits, batch: Batch, recipe: DetectorRecipe) -> Tensor:
    """Sums the heads' losses: binary cross-entropy over the labels that are there, weighted by row."""
    answer = _masked_loss(logits.answer_B, batch.answer_labels_B, batch.weights_B)
    alone = _masked_loss(logits.alone_B, batch.alone_labels_B, batch.weights_B)
    ones_BC = torch.ones_like(batch.category_labels_BC)
    category = _masked_loss(logits.categories_BC, batch.category_labels_BC, ones_BC)
    loss = answer + recipe.alone_loss_weight * alone + recipe.category_loss_weight * category
    if batch.is_paired:
        margins = logits.answer_B[0::2] - logits.answer_B[1::2]
        loss = loss + recipe.rank_loss_weight * functional.softplus(-margins).mean()
    return loss


def _masked_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    known = ~torch.isnan(labels)
    if not bool(known.any()):
        return logits.sum() * 0.0
    losses = functional.binary_cross_entropy_with_logits(logits[known], labels[known], reduction="none")
    # Divided by the number of rows, not by their weights: a batch of weak rows must pull less.
    return (losses * weights[known]).sum() / losses.numel()


def _make_optimizer(network: DetectorNetwork, recipe: DetectorRecipe) -> torch.optim.AdamW:
    heads = [network.answer_head, network.alone_head, network.category_head]
    head_parameters = [parameter for head in heads for parameter in head.parameters()]
    encoder_parameters = [parameter for parameter in network.encoder.parameters() if parameter.requires_grad]
    groups = [
        {"params": encoder_parameters, "lr": recipe.encoder_lr},
        {"params": head_parameters, "lr": recipe.head_lr},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def _describe(recipe: DetectorRecipe) -> dict[str, Any]:
    return asdict(recipe) | {"layout": PAIR_LAYOUT}
