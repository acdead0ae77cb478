"""From examples to tensors: tokens once, then a fresh random cut of every row in every epoch.

Shapes: B windows, T tokens, C trained categories.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from protector_models.detectors.prompts import MAX_PROMPT_TOKENS, MAX_RESPONSE_TOKENS, PairLayout, TokenPair
from protector_models.normalisation import normalise
from protector_models.training.category_map import TRAINED_CATEGORIES
from protector_models.training.examples import Example
from protector_models.training.sources import RowKind

_MIN_CUT_TOKENS = 12
_BATCHES_SORTED_TOGETHER = 40
_PAIR_BATCHES_SORTED_TOGETHER = 10
# A prompt with hundreds of answers is drawn more often than one with two, but not hundreds of times as often.
_MAX_PAIRS_OF_A_PROMPT = 4


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
class AnsweredPrompt:
    """Answers to one prompt, at least one of each kind."""

    harmful: list[EncodedExample]
    safe: list[EncodedExample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tensors of one step. Missing labels are NaN."""

    ids_BT: Tensor
    mask_BT: Tensor
    segments_BT: Tensor
    answer_labels_B: Tensor
    alone_labels_B: Tensor
    """Of the windows without a prompt."""
    category_labels_BC: Tensor
    weights_B: Tensor
    is_paired: bool
    """Whether rows 2i and 2i + 1 are a harmful and a safe answer to one prompt."""


def encode_examples(examples: Sequence[Example], tokenizer: Tokenizer) -> list[EncodedExample]:
    """Tokenises prompts and responses apart, without special tokens; rows that teach nothing are left out."""
    taught = [example for example in examples if example.harmful is not None or example.categories is not None]
    lookup = tokenizer.token_to_id
    prompts = tokenizer.encode_batch([normalise(row.prompt, lookup).text for row in taught], add_special_tokens=False)
    responses = tokenizer.encode_batch(
        [normalise(row.response, lookup).text for row in taught], add_special_tokens=False
    )
    return [
        EncodedExample(example=row, prompt_ids=list(prompt.ids), response_ids=list(response.ids))
        for row, prompt, response in zip(taught, prompts, responses, strict=True)
    ]


def cut_example(encoded: EncodedExample, layout: PairLayout, plan: CutPlan, rng: random.Random) -> TokenPair:
    """Draws one window of a row; the same generator state gives the same window."""
    prompt_ids, response_ids = encoded.prompt_ids, encoded.response_ids
    may_drop_prompt = len(response_ids) > 0 and encoded.example.source_set != "synthetic"
    if may_drop_prompt and rng.random() < plan.drop_prompt:
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


def group_by_prompt(rows: Sequence[EncodedExample]) -> list[AnsweredPrompt]:
    """Returns the prompts that have a harmful and a safe answer of the same set, in the order of their first row."""
    answers: dict[tuple[str, str], AnsweredPrompt] = defaultdict(lambda: AnsweredPrompt(harmful=[], safe=[]))
    for row in rows:
        example = row.example
        is_answer = example.kind in (RowKind.ANSWER, RowKind.PREFERENCE) and example.source_set != "synthetic"
        if is_answer and example.harmful is not None and example.prompt and row.response_ids:
            group = answers[example.source_set, example.prompt]
            (group.harmful if example.harmful else group.safe).append(row)
    return [group for group in answers.values() if group.harmful and group.safe]


def draw_pairs(
    prompts: Sequence[AnsweredPrompt], layout: PairLayout, plan: CutPlan, *, batch_size: int, rng: random.Random
) -> Iterator[Batch]:
    """Yields batches of pairs for ever: a harmful and a safe answer to one prompt, cut alike: length tells nothing."""
    weights = [min(len(group.harmful), len(group.safe), _MAX_PAIRS_OF_A_PROMPT) for group in prompts]
    pairs_per_batch = batch_size // 2
    while True:
        groups = rng.choices(prompts, weights, k=pairs_per_batch * _PAIR_BATCHES_SORTED_TOGETHER)
        pool = [_draw_pair(group, layout, plan, rng) for group in groups]
        pool.sort(key=lambda pair: max(len(window.input_ids) for _, window in pair))
        batches = [pool[start : start + pairs_per_batch] for start in range(0, len(pool), pairs_per_batch)]
        rng.shuffle(batches)
        for batch in batches:
            drawn = [row for pair in batch for row in pair]
            yield collate([row for row, _ in drawn], [window for _, window in drawn], is_paired=True)


def _draw_pair(
    group: AnsweredPrompt, layout: PairLayout, plan: CutPlan, rng: random.Random
) -> list[tuple[Example, TokenPair]]:
    pair = (rng.choice(group.harmful), rng.choice(group.safe))
    shortest = min(len(row.response_ids) for row in pair)
    length = MAX_RESPONSE_TOKENS
    if shortest > _MIN_CUT_TOKENS and rng.random() < plan.cut_response:
        length = rng.randint(_MIN_CUT_TOKENS, min(shortest, MAX_RESPONSE_TOKENS))
    drawn: list[tuple[Example, TokenPair]] = []
    for row in pair:
        prompt_ids = _take_window(row.prompt_ids, MAX_PROMPT_TOKENS, plan.keep_head, rng)
        response_ids = _take_window(row.response_ids, length, plan.keep_head, rng)
        drawn.append((row.example, layout.join(prompt_ids, response_ids)))
    return drawn


def collate(examples: Sequence[Example], windows: Sequence[TokenPair], *, is_paired: bool = False) -> Batch:
    """Pads windows to the longest of them and lays out their labels.

    Answers teach the answer head; texts, prompts, and answers that lost their prompt teach the other one.
    """
    width = max(len(window.input_ids) for window in windows)
    ids_BT = torch.zeros(len(windows), width, dtype=torch.int64)
    mask_BT = torch.zeros_like(ids_BT)
    segments_BT = torch.zeros_like(ids_BT)
    for row, window in enumerate(windows):
        length = len(window.input_ids)
        ids_BT[row, :length] = torch.tensor(window.input_ids)
        segments_BT[row, :length] = torch.tensor(window.segment_ids)
        mask_BT[row, :length] = 1
    missing = float("nan")
    unlabelled = (None,) * len(TRAINED_CATEGORIES)
    categories = [row.categories or unlabelled for row in examples]
    drawn = list(zip(examples, windows, strict=True))
    return Batch(
        ids_BT=ids_BT,
        mask_BT=mask_BT,
        segments_BT=segments_BT,
        answer_labels_B=_labels([row.harmful if row.kind is RowKind.ANSWER else None for row in examples]),
        alone_labels_B=_labels([row.harmful if teaches_alone(row, window) else None for row, window in drawn]),
        category_labels_BC=torch.tensor([[missing if x is None else x for x in labels] for labels in categories]),
        weights_B=torch.tensor([row.weight for row in examples]),
        is_paired=is_paired,
    )


def teaches_alone(example: Example, window: TokenPair) -> bool:
    """Tells whether a window teaches what a text without a prompt is worth."""
    return example.kind is not RowKind.PREFERENCE and not window.has_prompt


def _labels(labels: Sequence[float | None]) -> Tensor:
    return torch.tensor([float("nan") if label is None else label for label in labels])
