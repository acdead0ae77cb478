"""From drawn answers to tensors: tokens, pieces, labels; a fresh draw of every row in every epoch.

Shapes: B windows, T tokens, S pieces of all windows of a batch, C trained categories.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from tokenizers import Tokenizer
from torch import Tensor

from protector_models.detectors.shipped.window_layout import (
    MAX_PROMPT_TOKENS,
    MAX_RESPONSE_TOKENS,
    Bounds,
    PairLayout,
    TokenPair,
)
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.records.category_map import TRAINED_CATEGORIES
from protector_models.records.mix import RowKind
from protector_models.training.detector.answer_draws import AnswerDraws, DrawnAnswer, DrawnPiece, PiecedExample

_BATCHES_SORTED_TOGETHER = 40
_PAIR_BATCHES_SORTED_TOGETHER = 10
# A prompt with hundreds of answers is drawn more often than one with two, but not hundreds of times as often.
_MAX_PAIRS_OF_A_PROMPT = 4
_CACHED_TEXTS = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredPrompt:
    """Answers to one prompt, at least one of each kind."""

    harmful: list[PiecedExample]
    safe: list[PiecedExample]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledWindow:
    """A window and what is known of it."""

    drawn: DrawnAnswer
    window: TokenPair
    piece_labels: tuple[float | None, ...]
    """Of each piece of the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tensors of one step. Missing labels are NaN."""

    ids_BT: Tensor
    mask_BT: Tensor
    segments_BT: Tensor
    pieces_BT: Tensor
    """Number of the piece that a token belongs to, counted through the batch; -1 for none."""
    windows_S: Tensor
    """The window of each piece."""
    piece_labels_S: Tensor
    answer_labels_B: Tensor
    alone_labels_B: Tensor
    """Of the windows without a prompt."""
    category_labels_BC: Tensor
    weights_B: Tensor
    is_paired: bool
    """Whether rows 2i and 2i + 1 are a harmful and a safe answer to one prompt."""


class WindowMaker:
    """Makes windows of drawn answers: one each, as much of the answer as fits."""

    def __init__(self, tokenizer: Tokenizer, layout: PairLayout) -> None:
        """Takes a tokenizer without cutting and padding of its own."""
        self._layout = layout
        self._tokenizer = tokenizer
        self._encode = lru_cache(_CACHED_TEXTS)(self._tokenise)

    def make(self, drawn: DrawnAnswer, rng: random.Random) -> LabelledWindow:
        """Tokenises a drawn answer; of one that is too long, pieces without a label of their own go first."""
        prompt_ids = self._encode(drawn.prompt) if drawn.prompt else ()
        if len(prompt_ids) > MAX_PROMPT_TOKENS:
            # Of a long prompt the end, where the request mostly stands, as often as its head.
            first = 0 if rng.random() < 0.5 else len(prompt_ids) - MAX_PROMPT_TOKENS
            prompt_ids = prompt_ids[first : first + MAX_PROMPT_TOKENS]
        response_ids: list[int] = []
        bounds: list[Bounds] = []
        labels: list[float | None] = []
        for piece in self._fit(drawn):
            ids = self._encode(piece.text)[: MAX_RESPONSE_TOKENS - len(response_ids)]
            if ids:
                bounds.append((len(response_ids), len(response_ids) + len(ids)))
                labels.append(piece.harmful)
                response_ids.extend(ids)
        window = self._layout.join(prompt_ids, response_ids, bounds)
        return LabelledWindow(drawn=drawn, window=window, piece_labels=tuple(labels or [drawn.harmful]))

    def _tokenise(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _fit(self, drawn: DrawnAnswer) -> Sequence[DrawnPiece]:
        """Leaves out harmless company from the outside until the rest fits: what makes an answer harmful stays."""
        pieces = list(drawn.pieces)
        lengths = [len(self._encode(piece.text)) for piece in pieces]
        excess = sum(lengths) - MAX_RESPONSE_TOKENS
        while excess > 0 and drawn.harmful == 1.0 and len(pieces) > 1:
            place = -1 if pieces[-1].harmful == 0.0 else 0
            if pieces[place].harmful != 0.0:
                break
            excess -= lengths.pop(place)
            pieces.pop(place)
        return pieces


def draw_epoch(
    rows: Sequence[PiecedExample], draws: AnswerDraws, maker: WindowMaker, *, batch_size: int, rng: random.Random
) -> Iterator[Batch]:
    """Yields the batches of one epoch: rows of like length together, batches in random order."""
    order = list(range(len(rows)))
    rng.shuffle(order)
    for places in split_by_count(order, batch_size * _BATCHES_SORTED_TOGETHER):
        pool = [maker.make(draws.draw(rows[place], rng), rng) for place in places]
        pool.sort(key=lambda made: len(made.window.input_ids))
        batches = list(split_by_count(pool, batch_size))
        rng.shuffle(batches)
        for batch in batches:
            yield collate(batch)


def group_by_prompt(rows: Sequence[PiecedExample]) -> list[AnsweredPrompt]:
    """Returns the prompts that have a harmful and a safe answer of the same set, in the order of their first row."""
    answers: dict[tuple[str, str], AnsweredPrompt] = defaultdict(lambda: AnsweredPrompt(harmful=[], safe=[]))
    for row in rows:
        example = row.example
        is_answer = example.kind in (RowKind.ANSWER, RowKind.PREFERENCE) and example.source_set != "synthetic"
        if is_answer and example.harmful is not None and example.prompt and row.pieces:
            group = answers[example.source_set, example.prompt]
            (group.harmful if example.harmful else group.safe).append(row)
    return [group for group in answers.values() if group.harmful and group.safe]


def draw_pairs(
    prompts: Sequence[AnsweredPrompt], draws: AnswerDraws, maker: WindowMaker, *, batch_size: int, rng: random.Random
) -> Iterator[Batch]:
    """Yields batches of pairs for ever: a harmful and a safe answer to one prompt."""
    weights = [min(len(group.harmful), len(group.safe), _MAX_PAIRS_OF_A_PROMPT) for group in prompts]
    pairs_per_batch = batch_size // 2
    while True:
        groups = rng.choices(prompts, weights, k=pairs_per_batch * _PAIR_BATCHES_SORTED_TOGETHER)
        pool = [
            [maker.make(draws.draw_whole(rng.choice(side)), rng) for side in (group.harmful, group.safe)]
            for group in groups
        ]
        pool.sort(key=lambda pair: max(len(made.window.input_ids) for made in pair))
        batches = list(split_by_count(pool, pairs_per_batch))
        rng.shuffle(batches)
        for batch in batches:
            yield collate([made for pair in batch for made in pair], is_paired=True)


def collate(made: Sequence[LabelledWindow], *, is_paired: bool = False) -> Batch:
    """Pads windows to the longest of them and lays out their labels.

    Answers teach the answer head; texts, prompts, and answers that lost their prompt teach the other one.
    """
    windows = [one.window for one in made]
    width = max(len(window.input_ids) for window in windows)
    ids_BT = torch.zeros(len(windows), width, dtype=torch.int64)
    mask_BT = torch.zeros_like(ids_BT)
    segments_BT = torch.zeros_like(ids_BT)
    pieces_BT = torch.full_like(ids_BT, -1)
    windows_S: list[int] = []
    for row, window in enumerate(windows):
        length = len(window.input_ids)
        ids_BT[row, :length] = torch.tensor(window.input_ids)
        segments_BT[row, :length] = torch.tensor(window.segment_ids)
        mask_BT[row, :length] = 1
        for first, end in window.pieces:
            pieces_BT[row, first:end] = len(windows_S)
            windows_S.append(row)
    unlabelled = (None,) * len(TRAINED_CATEGORIES)
    is_harmful = [one.drawn.harmful == 1.0 for one in made]
    categories = [
        one.drawn.example.categories or unlabelled if harmful else unlabelled
        for one, harmful in zip(made, is_harmful, strict=True)
    ]
    return Batch(
        ids_BT=ids_BT,
        mask_BT=mask_BT,
        segments_BT=segments_BT,
        pieces_BT=pieces_BT,
        windows_S=torch.tensor(windows_S),
        piece_labels_S=_labels([label for one in made for label in one.piece_labels]),
        answer_labels_B=_labels([_answer_label(one.drawn) for one in made]),
        alone_labels_B=_labels([one.drawn.harmful if teaches_alone(one) else None for one in made]),
        category_labels_BC=torch.stack([_labels(labels) for labels in categories]),
        weights_B=torch.tensor([one.drawn.example.weight for one in made]),
        is_paired=is_paired,
    )


def _answer_label(drawn: DrawnAnswer) -> float | None:
    """Of a preference nothing is known but the order of the two."""
    return drawn.harmful if drawn.is_answer and drawn.example.kind is not RowKind.PREFERENCE else None


def teaches_alone(made: LabelledWindow) -> bool:
    """Tells whether a window teaches what a text without a prompt is worth."""
    return made.drawn.example.kind is not RowKind.PREFERENCE and not made.window.has_prompt


def _labels(labels: Sequence[float | None]) -> Tensor:
    return torch.tensor([float("nan") if label is None else label for label in labels])
