"""From sentences to tensors for the edit model.

Shapes: B sentences, T tokens, K edit tags, N pairs of a word and a tag.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from protector_models.detoxification.edit_encoding import encode_words
from protector_models.detoxification.tagged_words import KEEP
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.reading.normal_form import normalise
from protector_models.training.detoxification.edit_alignment import share_tags
from protector_models.training.detoxification.edit_corruption import (
    JudgedSentence,
    break_sentence,
    edit_in_part,
    edit_wrongly,
)
from protector_models.training.detoxification.edit_examples import EditExamples

_MAX_TOKENS = 96
_BUCKET_BATCHES = 20
"""Sentences of so many batches are sorted by length, so that a batch has little padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSentence:
    """A sentence with what is to become of its words."""

    ids: tuple[int, ...]
    words: tuple[int, ...]
    """The first token of each word that is within reach."""
    edited: tuple[float, ...]
    """For each of these words the share of rewrites that edit it, in [0, 1]."""
    tags: tuple[tuple[int, int, float], ...]
    """First token of a word, a tag it got, and the share of rewrites that gave it; tags that are too rare are left
    out."""
    toxic: float | None
    """1.0 where the wording is toxic, 0.0 where it is not, None where that is not known."""
    fluent: float | None
    """1.0 where the sentence is one that people write, 0.0 where an edit broke it, None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditBatch:
    """Sentences of about one length."""

    ids_BT: Tensor
    mask_BT: Tensor
    words_BT: Tensor
    """1.0 where a word begins that is within reach."""
    edited_BT: Tensor
    toxic_B: Tensor
    """NaN where it is not known; so for `fluent_B`."""
    fluent_B: Tensor
    tag_places_N: Tensor
    """Places in the flattened [B * T]."""
    tag_ids_N: Tensor
    tag_shares_N: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDraw:
    """How many sentences of each kind stand beside the toxic ones in a pass."""

    num_neutral: int
    num_safe: int
    num_judged: int
    num_spoilt: int
    """A third each: edited in part, edited wrongly, broken."""
    num_kept: int
    """Harmless sentences with names, groups of people and alarming words."""
    innocent_repeats: int
    """How often each innocent sentence stands in a pass."""
    careful_repeats: int
    """How often each toxic sentence does that was edited for this project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedEdits:
    """All training sentences, encoded."""

    toxic: list[EncodedSentence]
    neutral: list[EncodedSentence]
    safe: list[EncodedSentence]
    judged: list[EncodedSentence]
    """Texts that are known to be toxic or not as a whole."""
    innocent: list[EncodedSentence]
    careful: list[EncodedSentence]
    kept: list[EncodedSentence]
    tokenizer: Tokenizer
    sources: list[str]
    """The toxic sentences, with the careful ones at the end, in their normal form, and for each of their words the
    share of each tag."""
    shares: list[list[Mapping[str, float]]]
    harmless: list[str]
    """All sentences that are to stay as they are, as texts."""
    tag_names: tuple[str, ...]
    """The tags that the model knows, without `KEEP`, the most frequent first."""


def encode_edits(examples: EditExamples, tokenizer: Tokenizer, *, min_tag_weight: float) -> EncodedEdits:
    """Aligns, chooses the tags, and encodes.

    Args:
        examples: sentences and rewrites.
        tokenizer: the encoder's.
        min_tag_weight: sum of shares, over all words, from which on a tag is one that the model learns.
    """
    # In its normal form, which is its own normal form: the words tagged are then those that are encoded.
    rewritten = [*examples.training, *examples.careful]
    sources = [normalise(sentence.source, tokenizer.token_to_id).text for sentence in rewritten]
    shared = [share_tags(source, sentence.rewrites) for source, sentence in zip(sources, rewritten, strict=True)]
    tag_names = _choose_tags(shared, min_tag_weight)
    numbers = {name: number for number, name in enumerate(tag_names)}
    toxic = [_encode(source, tokenizer, shares, numbers) for source, shares in zip(sources, shared, strict=True)]
    return EncodedEdits(
        toxic=toxic[: len(examples.training)],
        careful=toxic[len(examples.training) :],
        neutral=[_encode(text, tokenizer) for text in examples.neutral],
        safe=[_encode(text, tokenizer) for text in examples.safe],
        judged=[_encode_judged(judged, tokenizer) for judged in examples.judged],
        innocent=[_encode(text, tokenizer) for text in examples.innocent],
        kept=[_encode(text, tokenizer) for text in examples.kept],
        tokenizer=tokenizer,
        sources=sources,
        shares=shared,
        harmless=[*examples.neutral, *examples.safe, *examples.innocent, *examples.kept],
        tag_names=tag_names,
    )


def draw_epoch(edits: EncodedEdits, draw: EpochDraw, *, batch_size: int, rng: random.Random) -> Iterator[EditBatch]:
    """Yields all toxic sentences once, with the careful and some of the other ones and some spoilt ones among them."""
    drawn = [
        *edits.toxic,
        *edits.careful * draw.careful_repeats,
        *edits.innocent * draw.innocent_repeats,
        *rng.sample(edits.kept, min(draw.num_kept, len(edits.kept))),
        *rng.sample(edits.neutral, min(draw.num_neutral, len(edits.neutral))),
        *rng.sample(edits.safe, min(draw.num_safe, len(edits.safe))),
        *rng.sample(edits.judged, min(draw.num_judged, len(edits.judged))),
        *(_encode_judged(judged, edits.tokenizer) for judged in _spoil(edits, draw.num_spoilt, rng) if judged.text),
    ]
    rng.shuffle(drawn)
    batches: list[Sequence[EncodedSentence]] = []
    for bucket in split_by_count(drawn, batch_size * _BUCKET_BATCHES):
        batches += split_by_count(sorted(bucket, key=lambda sentence: len(sentence.ids)), batch_size)
    rng.shuffle(batches)
    return map(collate, batches)


def collate(sentences: Sequence[EncodedSentence]) -> EditBatch:
    """Pads sentences to one length."""
    shape = (len(sentences), max(len(sentence.ids) for sentence in sentences))
    ids_BT, mask_BT = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    words_BT, edited_BT = torch.zeros(shape), torch.zeros(shape)
    tags: list[tuple[int, int, float]] = []
    for row, sentence in enumerate(sentences):
        ids_BT[row, : len(sentence.ids)] = torch.tensor(sentence.ids)
        mask_BT[row, : len(sentence.ids)] = 1
        words = torch.tensor(sentence.words, dtype=torch.int64)
        words_BT[row, words] = 1.0
        edited_BT[row, words] = torch.tensor(sentence.edited)
        tags += [(row * shape[1] + token, tag, share) for token, tag, share in sentence.tags]
    return EditBatch(
        ids_BT=ids_BT,
        mask_BT=mask_BT,
        words_BT=words_BT,
        edited_BT=edited_BT,
        toxic_B=torch.tensor([math.nan if sentence.toxic is None else sentence.toxic for sentence in sentences]),
        fluent_B=torch.tensor([math.nan if sentence.fluent is None else sentence.fluent for sentence in sentences]),
        tag_places_N=torch.tensor([place for place, _, _ in tags], dtype=torch.int64),
        tag_ids_N=torch.tensor([tag for _, tag, _ in tags], dtype=torch.int64),
        tag_shares_N=torch.tensor([share for _, _, share in tags]),
    )


def _choose_tags(shared: Sequence[Sequence[Mapping[str, float]]], min_weight: float) -> tuple[str, ...]:
    weights: dict[str, float] = {}
    for shares in shared:
        for share in shares:
            for tag, weight in share.items():
                weights[tag] = weights.get(tag, 0.0) + weight
    known = [tag for tag, weight in weights.items() if tag != KEEP and weight >= min_weight]
    return tuple(sorted(known, key=lambda tag: (-weights[tag], tag)))


def _encode(
    text: str,
    tokenizer: Tokenizer,
    shares: Sequence[Mapping[str, float]] | None = None,
    numbers: Mapping[str, int] | None = None,
) -> EncodedSentence:
    """Encodes a sentence; without shares of tags, all its words are to be kept."""
    encoded = encode_words(text, tokenizer, max_tokens=_MAX_TOKENS)
    reached = [(word, token) for word, token in enumerate(encoded.first_tokens) if token is not None]
    edited = [1.0 - shares[word].get(KEEP, 0.0) if shares else 0.0 for word, _ in reached]
    tags = [
        (token, numbers[tag], share)
        for word, token in reached
        for tag, share in (shares[word].items() if shares else ())
        if numbers and tag in numbers
    ]
    return EncodedSentence(
        ids=encoded.ids,
        words=tuple(token for _, token in reached),
        edited=tuple(edited),
        tags=tuple(tags),
        toxic=0.0 if shares is None else 1.0,
        # People who posted the toxic ones did not care; what a rewrite should read like are the others.
        fluent=1.0 if shares is None else None,
    )


def _encode_judged(judged: JudgedSentence, tokenizer: Tokenizer) -> EncodedSentence:
    ids = encode_words(judged.text, tokenizer, max_tokens=_MAX_TOKENS).ids
    return EncodedSentence(ids=ids, words=(), edited=(), tags=(), toxic=judged.toxic, fluent=judged.fluent)


def _spoil(edits: EncodedEdits, num: int, rng: random.Random) -> Iterator[JudgedSentence]:
    for _ in range(num // 3):
        number = rng.randrange(len(edits.sources))
        yield edit_in_part(edits.sources[number], edits.shares[number], rng)
        yield edit_wrongly(edits.sources[number], edits.shares[number], edits.tag_names, rng)
        yield break_sentence(rng.choice(edits.harmless), rng)
