"""Rows for the judge of fluency: sentences as people wrote them, and the same ones broken.

Toxic and harmless sentences stand on both sides, so that the presence of a toxic word tells nothing, nor its absence.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from protector_models.judges.toxic_words import ToxicWords, find_words
from protector_models.records.examples import is_held_out, read_training_set
from protector_models.records.excluded_texts import is_excluded_text
from protector_models.training.judges.judge_rows import HELD_OUT_PERCENT

PAIRS = "paradetox/train"
PLAIN_SENTENCES = "paradetox/cannot_rewrite"

# After one of these comes a noun or its adjective: without it the sentence is broken. Before a toxic word stands one of
# them as often as not, which is where a list of words breaks sentences.
_OPENERS = frozenset(
    re.findall(
        r"\S+",
        "a an the this that these those my your his her its our their some any every no another such of with "
        "is are was were be am i'm you're he's she's it's they're we're like being",
    )
)
_SMALL_WORDS = frozenset(
    re.findall(
        r"\S+",
        "a an the to of in on at is are was were be been am and or but for with that this it you he she they we i my "
        "your his her their as by from do does did have has had will would can could not if so",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedSentence:
    """A toxic sentence and what people made of it."""

    source: str
    rewrites: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentences:
    """Sentences as people wrote them."""

    pairs: list[PairedSentence]
    plain: list[str]
    """Of the same kind, toxic and harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FluencyRow:
    """A sentence and whether a person wrote it so."""

    text: str
    fluent: bool


def read_sentences(directory: Path) -> tuple[Sentences, Sentences]:
    """Reads the sentences to learn from, and those held out by the hash of the toxic sentence.

    Raises:
        RecordError: evaluation data, a missing set, or a line that is no record.
    """
    rewrites: dict[str, list[str]] = {}
    for record in read_training_set(directory, PAIRS):
        if record.pair and not is_excluded_text(record.text) and not is_excluded_text(record.pair):
            rewrites.setdefault(record.text, []).append(record.pair)
    plain = [
        record.text for record in read_training_set(directory, PLAIN_SENTENCES) if not is_excluded_text(record.text)
    ]
    sides = (Sentences(pairs=[], plain=[]), Sentences(pairs=[], plain=[]))
    for source, found in rewrites.items():
        side = sides[is_held_out(source, percent=HELD_OUT_PERCENT)]
        side.pairs.append(PairedSentence(source=source, rewrites=tuple(dict.fromkeys(found))))
    for text in plain:
        sides[is_held_out(text, percent=HELD_OUT_PERCENT)].plain.append(text)
    return sides


def make_rows(sentences: Sentences, words: ToxicWords, rng: random.Random) -> list[FluencyRow]:
    """Makes the rows of one pass; the same generator state gives the same rows.

    Every toxic sentence stands there untouched and without its toxic words, every rewrite as written and broken, every
    other sentence as written and broken, or without its toxic words where it has any.
    """
    whole: list[str] = []
    broken: list[str | None] = []
    for pair in sentences.pairs:
        rewrite = rng.choice(pair.rewrites)
        whole += [pair.source, rewrite]
        broken += [_delete(words, pair.source), break_sentence(rewrite, rng)]
        if rng.random() < 0.3:
            broken.append(break_sentence(pair.source, rng))
    for text in sentences.plain:
        whole.append(text)
        broken.append(_delete(words, text) or break_sentence(text, rng))
    rows = [FluencyRow(text=text, fluent=True) for text in whole]
    rows += [FluencyRow(text=text, fluent=False) for text in broken if text]
    rng.shuffle(rows)
    return rows


def break_sentence(text: str, rng: random.Random) -> str | None:
    """Breaks a sentence in one of five ways, drawn at random; None where it is too short for the way drawn."""
    way = rng.choices(_WAYS, weights=_WEIGHTS)[0]
    return way(text, rng)


def _delete(words: ToxicWords, text: str) -> str | None:
    deleted = words.delete(text)
    return deleted if deleted != text and deleted else None


def _drop_after_opener(text: str, rng: random.Random) -> str | None:
    words = _words(text)
    return _drop(text, [here for here in range(1, len(words)) if words[here - 1] in _OPENERS], rng)


def _drop_small_word(text: str, rng: random.Random) -> str | None:
    return _drop(text, [here for here, word in enumerate(_words(text)) if word in _SMALL_WORDS], rng)


def _drop_long_word(text: str, rng: random.Random) -> str | None:
    words = _words(text)
    return _drop(text, [here for here, word in enumerate(words) if len(word) > 3 and word not in _OPENERS], rng)


def _repeat_word(text: str, rng: random.Random) -> str | None:
    found = find_words(text)
    if not found:
        return None
    word = rng.choice(found)
    return f"{text[: word.end()]} {word[0]}{text[word.end() :]}"


def _swap_words(text: str, rng: random.Random) -> str | None:
    found = find_words(text)
    pairs = [(left, right) for left, right in pairwise(found) if left[0].lower() != right[0].lower()]
    if not pairs:
        return None
    left, right = rng.choice(pairs)
    between = text[left.end() : right.start()]
    return f"{text[: left.start()]}{right[0]}{between}{left[0]}{text[right.end() :]}"


_WAYS: Sequence[Callable[[str, random.Random], str | None]] = (
    _drop_after_opener,
    _drop_small_word,
    _drop_long_word,
    _repeat_word,
    _swap_words,
)
_WEIGHTS = (0.4, 0.2, 0.15, 0.1, 0.15)


def _words(text: str) -> list[str]:
    return [word[0].lower() for word in find_words(text)]


def _drop(text: str, places: Sequence[int], rng: random.Random) -> str | None:
    """Takes one word out, with the space before it; None where there is no place, or no other word would stay."""
    found = find_words(text)
    if not places or len(found) < 3:
        return None
    word = found[rng.choice(places)]
    return " ".join((text[: word.start()].rstrip() + text[word.end() :]).split())
