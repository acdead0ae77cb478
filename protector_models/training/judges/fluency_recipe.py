"""The recipe of the judge of fluency: a low-rank adapter on the base encoder, with fixed seeds.

Shapes: B sentences, T tokens.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from protector_models.judges.base_texts import encode, load_base_network, load_base_tokenizer
from protector_models.judges.fluency_judge import FluencyNetwork
from protector_models.judges.toxic_words import ToxicWords
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.training.judges.fluency_rows import FluencyRow, Sentences, make_rows
from protector_models.training.resumable import learning_rate_factor

_BATCHES_SORTED_TOGETHER = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FluencyRecipe:
    """Every choice of a run; two runs with equal recipes and data see the same batches in the same order."""

    seed: int = 17
    rank: int = 16
    num_steps: int = 3_400
    """Optimiser steps of one batch each: about two passes, every one with sentences broken anew."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    """Share of the steps in which the learning rate rises linearly from 0; afterwards it falls linearly to 0."""
    max_gradient_norm: float = 1.0


def train_fluency(
    sentences: Sentences,
    words: ToxicWords,
    *,
    encoder_directory: Path,
    recipe: FluencyRecipe,
    report_step: Callable[[float], None],
) -> FluencyNetwork:
    """Trains the judge; the same sentences, recipe and number of threads give the same weights.

    Args:
        sentences: what is learned from.
        words: the list of toxic words, learned without held-out sentences.
        encoder_directory: the base encoder in Hugging Face form.
        recipe: the choices of the run.
        report_step: called after each step with the mean loss of the last 50.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    torch.manual_seed(recipe.seed)
    network = FluencyNetwork(load_base_network(encoder_directory), rank=recipe.rank).train()
    tokenizer = load_base_tokenizer(encoder_directory)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: learning_rate_factor(step, num_steps=recipe.num_steps, warmup_share=recipe.warmup_share),
    )
    batches = _draw_batches(sentences, words, recipe)
    losses: list[float] = []
    for _ in range(recipe.num_steps):
        batch = next(batches)
        ids_BT, mask_BT = encode(tokenizer, [row.text for row in batch])
        labels_B = torch.tensor([float(row.fluent) for row in batch])
        loss = functional.binary_cross_entropy_with_logits(network(ids_BT, mask_BT), labels_B)
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(f"step {len(losses) + 1}: the loss is {loss.item()}")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(trained, recipe.max_gradient_norm)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        recent = losses[-50:]
        report_step(sum(recent) / len(recent))
    return network.eval()


def _draw_batches(sentences: Sentences, words: ToxicWords, recipe: FluencyRecipe) -> Iterator[Sequence[FluencyRow]]:
    """Yields batches for ever, rows of like length together, decided by the seed alone."""
    rng = random.Random(recipe.seed)
    pool_size = recipe.batch_size * _BATCHES_SORTED_TOGETHER
    while True:
        rows = make_rows(sentences, words, rng)
        for pool in split_by_count(rows, pool_size):
            by_length = sorted(pool, key=lambda row: len(row.text))
            batches = list(split_by_count(by_length, recipe.batch_size))
            rng.shuffle(batches)
            yield from batches
