"""The recipe of the harm detector: fine-tune an encoder on the mix, with fixed seeds, resumable.

Shapes: B windows, T tokens, S pieces, C trained categories, K logits.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from protector_models.detectors.shipped.window_aggregation import ALONE, ANSWER, FIRST_CATEGORY
from protector_models.detectors.shipped.window_layout import PAIR_LAYOUT, PairLayout
from protector_models.records.mix import RowKind
from protector_models.training.detector.answer_draws import AnswerDraws, DrawPlan, PiecedExample
from protector_models.training.detector.batches import Batch, WindowMaker, draw_epoch, draw_pairs, group_by_prompt
from protector_models.training.detector.detector_network import (
    DetectorLogits,
    DetectorNetwork,
    find_worst,
)
from protector_models.training.optimisation import LoopPlan, StepCost, run_steps
from protector_models.training.resumable import Run, TrainingProgress, learning_rate_factor


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRecipe:
    """Every choice of a run; two runs with equal recipes and data see the same batches in the same order."""

    seed: int = 17
    num_steps: int = 1_500
    """Optimiser steps of one batch each."""
    batch_size: int = 32
    pairs_every: int = 6
    """Each such step is a batch of harmful and safe answers to the same prompts."""
    rank_loss_weight: float = 1.0
    """Of -log sigmoid(difference of the pair's logits), beside the loss of each answer."""
    whole_loss_weight: float = 0.5
    """Of the head that judges the response as a whole."""
    piece_loss_weight: float = 0.5
    """Of pieces whose own label is known."""
    encoder_lr: float = 1e-4
    head_lr: float = 1e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    """Share of the steps in which the learning rate rises linearly from 0; afterwards it falls linearly to 0."""
    max_gradient_norm: float = 1.0
    alone_loss_weight: float = 0.5
    category_loss_weight: float = 0.3
    num_frozen_layers: int = 0
    """Lowest layers of the encoder that keep their weights; with any, all embeddings do."""
    validation_percent: int = 8
    checkpoint_every: int = 100
    """Steps between resumable checkpoints."""


class Lessons(Protocol):
    """What a run learns beside its labels; `distillation.TeacherLessons` is the one kind there is."""

    @property
    def unlabelled(self) -> Sequence[PiecedExample]:
        """Rows that are drawn among the labelled ones."""
        ...

    @property
    def choices(self) -> Mapping[str, Any]:
        """Whatever of the lessons decides the run's result, in plain values."""
        ...

    def join(self, loss_of_labels: Tensor, logits: DetectorLogits, batch: Batch, *, step: int) -> Tensor:
        """Returns the loss of a step, counted from 1, given that of its labels."""
        ...


def begin_network(encoder_directory: Path, recipe: DetectorRecipe) -> DetectorNetwork:
    """Loads a pretrained encoder in Hugging Face form, and puts heads over it that know nothing yet."""
    torch.manual_seed(recipe.seed)
    return DetectorNetwork.from_pretrained(encoder_directory, num_frozen_layers=recipe.num_frozen_layers)


def train_detector(
    rows: Sequence[PiecedExample],
    tokenizer: Tokenizer,
    *,
    network: DetectorNetwork,
    checkpoint_directory: Path,
    recipe: DetectorRecipe,
    report: Callable[[TrainingProgress], None],
    lessons: Lessons | None = None,
) -> DetectorNetwork:
    """Trains one detector, going on from the checkpoint of an interrupted run of the same recipe if there is one.

    Args:
        rows: training rows, cut into pieces.
        tokenizer: as `load_training_tokenizer` loads it.
        network: what it begins as, see `begin_network`; it is changed.
        checkpoint_directory: where `checkpoint.pt` is kept.
        recipe: the choices of the run.
        report: called after each step; may not block for long.
        lessons: of a teacher; None: labels alone.

    Returns:
        The trained network in evaluation mode.

    Raises:
        ValueError: the directory holds a checkpoint of another recipe.
        FloatingPointError: the loss became NaN or infinite.
    """
    network.train()
    optimizer = _make_optimizer(network, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, num_steps=recipe.num_steps, warmup_share=recipe.warmup_share)
    )

    def backpropagate(step: int, batch: Batch) -> StepCost:
        logits = network(batch)
        loss = multitask_loss(logits, batch, recipe)
        if lessons is not None:
            loss = lessons.join(loss, logits, batch, step=step)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return StepCost(loss=loss.item(), num_tokens=batch.ids_BT.numel())

    run_steps(
        Run(network=network, optimizer=optimizer, schedule=schedule),
        draw_batches(rows, tokenizer, recipe, unlabelled=lessons.unlabelled if lessons else ()),
        backpropagate,
        plan=LoopPlan(
            num_steps=recipe.num_steps,
            max_gradient_norm=recipe.max_gradient_norm,
            checkpoint_every=recipe.checkpoint_every,
            choices=_describe(recipe) | dict(lessons.choices if lessons else {}),
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


def draw_batches(
    rows: Sequence[PiecedExample],
    tokenizer: Tokenizer,
    recipe: DetectorRecipe,
    *,
    unlabelled: Sequence[PiecedExample] = (),
) -> Iterator[Batch]:
    """Yields batches for ever, epoch after epoch with batches of pairs between, decided by the seed alone.

    Args:
        rows: labelled, and preferences.
        tokenizer: as `load_training_tokenizer` loads it.
        recipe: the choices of the run.
        unlabelled: drawn among the labelled rows, for a teacher to score.

    Raises:
        ValueError: no prompt has a harmful and a safe answer.
    """
    rng = random.Random(recipe.seed)
    prompts = group_by_prompt(rows)
    if not prompts:
        raise ValueError("no prompt of the mix has a harmful and a safe answer: nothing to rank")
    draws = AnswerDraws(rows, DrawPlan())
    maker = WindowMaker(tokenizer, PairLayout.for_vocabulary(tokenizer))
    pairs = draw_pairs(prompts, draws, maker, batch_size=recipe.batch_size, rng=random.Random(recipe.seed + 1))
    drawn = [*(row for row in rows if row.example.kind is not RowKind.PREFERENCE), *unlabelled]
    step = 0
    while True:
        for batch in draw_epoch(drawn, draws, maker, batch_size=recipe.batch_size, rng=rng):
            step += 1
            if step % recipe.pairs_every == 0:
                yield next(pairs)
                step += 1
            yield batch


def multitask_loss(logits: DetectorLogits, batch: Batch, recipe: DetectorRecipe) -> Tensor:
    """Sums the heads' losses: binary cross-entropy over the labels that are there, weighted by row."""
    num_windows = len(batch.weights_B)
    worst = [find_worst(logits.pieces_SK[:, head], batch.windows_S, num_windows) for head in (ANSWER, ALONE)]
    labels = (batch.answer_labels_B, batch.alone_labels_B)
    has_prompt_S = torch.isnan(batch.alone_labels_B)[batch.windows_S]
    weights_S = batch.weights_B[batch.windows_S]
    loss = logits.whole_BK.sum() * 0.0
    for head, head_weight in ((ANSWER, 1.0), (ALONE, recipe.alone_loss_weight)):
        whole = _masked_loss(logits.whole_BK[:, head], labels[head], batch.weights_B)
        loss = loss + head_weight * (
            _masked_loss(worst[head], labels[head], batch.weights_B) + recipe.whole_loss_weight * whole
        )
        teaches_S = has_prompt_S if head == ANSWER else ~has_prompt_S
        piece_labels_S = torch.where(teaches_S, batch.piece_labels_S, torch.nan)
        loss = loss + head_weight * recipe.piece_loss_weight * _masked_loss(
            logits.pieces_SK[:, head], piece_labels_S, weights_S
        )
    loss = loss + recipe.category_loss_weight * _category_loss(logits, batch)
    if batch.is_paired:
        margins = worst[ANSWER][0::2] - worst[ANSWER][1::2]
        whole_margins = logits.whole_BK[0::2, ANSWER] - logits.whole_BK[1::2, ANSWER]
        ranks = functional.softplus(-margins).mean()
        whole_ranks = functional.softplus(-whole_margins).mean()
        loss = loss + recipe.rank_loss_weight * (ranks + recipe.whole_loss_weight * whole_ranks)
    return loss


def _category_loss(logits: DetectorLogits, batch: Batch) -> Tensor:
    """Teaches the categories to the whole, and to the piece of each window that is worst."""
    ones_BC = torch.ones_like(batch.category_labels_BC)
    whole = _masked_loss(logits.whole_BK[:, FIRST_CATEGORY:], batch.category_labels_BC, ones_BC)
    harm_S = logits.pieces_SK[:, ANSWER].detach()
    worst_B = find_worst(harm_S, batch.windows_S, len(batch.weights_B))
    is_worst_S = harm_S == worst_B[batch.windows_S]
    labels_SC = torch.where(is_worst_S.unsqueeze(-1), batch.category_labels_BC[batch.windows_S], torch.nan)
    return whole + _masked_loss(logits.pieces_SK[:, FIRST_CATEGORY:], labels_SC, torch.ones_like(labels_SC))


def _masked_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    known = ~torch.isnan(labels)
    if not bool(known.any()):
        return logits.sum() * 0.0
    losses = functional.binary_cross_entropy_with_logits(logits[known], labels[known], reduction="none")
    # Divided by the number of rows, not by their weights: a batch of weak rows must pull less.
    return (losses * weights[known]).sum() / losses.numel()


def _make_optimizer(network: DetectorNetwork, recipe: DetectorRecipe) -> torch.optim.AdamW:
    heads = (network.piece_head, network.whole_head)
    head_parameters = [parameter for head in heads for parameter in head.parameters()]
    encoder_parameters = [parameter for parameter in network.encoder.parameters() if parameter.requires_grad]
    groups = [
        {"params": encoder_parameters, "lr": recipe.encoder_lr},
        {"params": head_parameters, "lr": recipe.head_lr},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def _describe(recipe: DetectorRecipe) -> dict[str, Any]:
    return asdict(recipe) | asdict(DrawPlan()) | {"layout": PAIR_LAYOUT}
