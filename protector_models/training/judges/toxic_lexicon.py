"""A list of toxic words, learned from toxic texts and their human rewrites."""

from collections import Counter
from collections.abc import Iterable
from math import log

from protector_models.judges.toxic_words import find_words

MIN_TEXTS = 5
"""Toxic texts that a word stands in at least: rarer ones tell too little."""
MIN_LOG_ODDS = 1.6
"""The odds of a word are five times as high in a toxic text as in a rewrite."""


def learn_toxic_words(sources: Iterable[str], rewrites: Iterable[str]) -> list[str]:
    """Finds the words whose odds to stand in a toxic text are far above those to stand in a rewrite.

    Each word counts once a text. Half a text is added to every count, so that a word never left in has finite odds.

    Args:
        sources: toxic texts.
        rewrites: what people made of them.

    Returns:
        Words in lower case, in alphabetical order.
    """
    before, num_sources = _count(sources)
    after, num_rewrites = _count(rewrites)
    return sorted(
        word
        for word, count in before.items()
        if count >= MIN_TEXTS and _log_odds(count, num_sources) - _log_odds(after[word], num_rewrites) >= MIN_LOG_ODDS
    )


def _count(texts: Iterable[str]) -> tuple[Counter[str], int]:
    counts: Counter[str] = Counter()
    num_texts = 0
    for text in texts:
        counts.update({word[0].lower() for word in find_words(text)})
        num_texts += 1
    return counts, num_texts


def _log_odds(count: int, num_texts: int) -> float:
    return log((count + 0.5) / (num_texts - count + 0.5))
