"""From examples to tensors: tokens once, then a fresh random cut of every row in every epoch.

Shapes: B windows, T tokens, C trained categories.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from protector_models.prompts import MAX_PROMPT_TOKENS, MAX_RESPONSE_TOKENS, PairLayout, TokenPair
from protector_models.training.category_map import TRAINED_CATEGORIES
from protector_models.training.examples import Example
from protector_models.training.sources import RowKind

_MIN_CUT_TOKENS = 12
_BATCHES_SORTED_TOGETHER = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPlan:
    """How rows are cut: the model must judge answers of any length, and without their prompt."""

    drop_prompt: float = 0.35
    """Share of answers that lose their prompt."""
    cut_response: float = 0.5
    """Share of answers cut at a random length: length alone tells harmful from safe in several sets."""
    keep_head: float = 0.7
    """Share of longer answers that keep their head; the others keep a window from anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedExample:
    """An example and its tokens, uncut."""

    example: Example
    prompt_ids: list[int]
    response_ids: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tensors of one step. Missing labels are NaN."""

    ids_BT: Tensor
    mask_BT: Tensor
    segments_BT: Tensor
    answer_labels_B: Tensor
    text_labels_B: Tensor
    category_labels_BC: Tensor
    weights_B: Tensor


def encode_examples(examples: Sequence[Example], tokenizer: Tokenizer) -> list[EncodedExample]:
    """Tokenises prompts and responses apart, without special tokens; rows that teach nothing are left out."""
    taught = [example for example in examples if example.harmful is not None or example.categories is not None]
    prompts = tokenizer.encode_batch([row.prompt for row in taught], add_special_tokens=False)
    responses = tokenizer.encode_batch([row.response for row in taught], add_special_tokens=False)
    return [
        EncodedExample(example=row, prompt_ids=list(prompt.ids), response_ids=list(response.ids))
        for row, prompt, response in zip(taught, prompts, responses, strict=True)
    ]


def cut_example(encoded: EncodedExample, layout: PairLayout, plan: CutPlan, rng: random.Random) -> TokenPair:
    """Draws one window of a row; the same generator state gives the same window."""
    prompt_ids, response_ids = encoded.prompt_ids, encoded.response_ids
    may_drop_prompt = encoded.example.kind is not RowKind.PROMPT and len(response_ids) > 0
    if may_drop_prompt and encoded.example.source_set != "synthetic" and rng.random() < plan.drop_prompt:
        prompt_ids = []
    length = min(len(response_ids), MAX_RESPONSE_TOKENS)
    if length > _MIN_CUT_TOKENS and rng.random() < plan.cut_response:
        length = rng.randint(_MIN_CUT_TOKENS, length)
    return layout.join(
        _take_window(prompt_ids, MAX_PROMPT_TOKENS, plan.keep_head, rng),
        _take_window(response_ids, length, plan.keep_head, rng),
    )


def _take_window(ids: list[int], length: int, keep_head: float, rng: random.Random) -> list[int]:
    if len(ids) <= length:
        return ids
    start = 0 if rng.random() < keep_head else rng.randint(0, len(ids) - length)
    return ids[start : start + length]


def draw_epoch(
    rows: Sequence[EncodedExample], layout: PairLayout, plan: CutPlan, *, batch_size: int, rng: random.Random
) -> Iterator[Batch]:
    """Yields the batches of one epoch: rows of like length together, batches in random order."""
    order = list(range(len(rows)))
    rng.shuffle(order)
    pool_size = batch_size * _BATCHES_SORTED_TOGETHER
    for start in range(0, len(order), pool_size):
        pool = [(rows[i].example, cut_example(rows[i], layout, plan, rng)) for i in order[start : start + pool_size]]
        pool.sort(key=lambda drawn: len(drawn[1].input_ids))
        batches = [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
        rng.shuffle(batches)
        for batch in batches:
            yield collate([row for row, _ in batch], [pair for _, pair in batch])


def collate(examples: Sequence[Example], pairs: Sequence[TokenPair]) -> Batch:
    """Pads windows to the longest of them and lays out their labels."""
    width = max(len(pair.input_ids) for pair in pairs)
    ids_BT = torch.zeros(len(pairs), width, dtype=torch.int64)
    mask_BT = torch.zeros_like(ids_BT)
    segments_BT = torch.zeros_like(ids_BT)
    for row, pair in enumerate(pairs):
        length = len(pair.input_ids)
        ids_BT[row, :length] = torch.tensor(pair.input_ids)
        segments_BT[row, :length] = torch.tensor(pair.segment_ids)
        mask_BT[row, :length] = 1
    missing = float("nan")
    unlabelled = (None,) * len(TRAINED_CATEGORIES)
    categories = [row.categories or unlabelled for row in examples]
    return Batch(
        ids_BT=ids_BT,
        mask_BT=mask_BT,
        segments_BT=segments_BT,
        answer_labels_B=_labels([None if row.kind is RowKind.TEXT else row.harmful for row in examples]),
        text_labels_B=_labels([row.harmful if row.kind is RowKind.TEXT else None for row in examples]),
        category_labels_BC=torch.tensor([[missing if x is None else x for x in labels] for labels in categories]),
        weights_B=torch.tensor([row.weight for row in examples]),
    )


def _labels(labels: Sequence[float | None]) -> Tensor:
    return torch.tensor([float("nan") if label is None else label for label in labels])
