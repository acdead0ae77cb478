"""From a toxic sentence and its rewrites by people to a tag for every word.

Words are aligned at the least cost: what is equal costs nothing, putting one word for another costs less the more they
look alike. A deletion and the words that follow it are a replacement. Where several people rewrote a sentence, a word
has the share of each tag among them: what most of them leave alone is mostly left alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum, auto

from protector_models.detoxification.tagged_words import DELETE, KEEP, append_tag, plain_form, replace_tag, split_words

_GAP_COST = 1.0
_WORD_FOR_SIGN_COST = 2.5
"""More than leaving one out and putting the other in."""
_MIN_SUBSTITUTION_COST = 1.0
_UNLIKENESS_COST = 0.6

_CLOSENESS = 2.0
"""A rewrite counts as the share of words that it leaves alone, to this power."""
_MAX_EDITED_SHARE = 0.75
_PARAPHRASE_WEIGHT = 0.02
"""Of a rewrite that leaves less than a quarter of the words where they were, against one that changes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedRewrite:
    """A rewrite of a sentence, and how much it counts."""

    text: str
    weight: float


class _Step(Enum):
    SAME = auto()
    SUBSTITUTE = auto()
    DROP = auto()
    INSERT = auto()


def tag_words(source: str, rewrite: str) -> list[str]:
    """Returns a tag for each word of `source` that together make `rewrite` of it, but for casing and spaces.

    A sign at the end is kept whether the rewrite has it or not: people are careless with it. Signs alone are never
    put in.
    """
    before = _plain_words(source)
    after = _plain_words(rewrite)
    tags = [KEEP] * len(before)
    inserted: dict[int, list[str]] = {}
    last = -1
    for step, word, new in _align(before, after):
        if step is _Step.INSERT:
            inserted.setdefault(last, []).append(new)
            continue
        last = word
        if step is not _Step.SAME:
            tags[word] = DELETE
        if step is _Step.SUBSTITUTE:
            inserted.setdefault(word, []).append(new)
    is_replaced = bool(tags) and tags[0] == DELETE and 0 in inserted
    for word, new_words in inserted.items():
        if word >= 0 and tags[word] == DELETE:
            tags[word] = replace_tag(new_words)
        elif word >= 0 and any(new[0].isalnum() for new in new_words):
            tags[word] = append_tag(new_words)
    if inserted.get(-1) and before:
        # Nothing stands before the first word: what is put there replaces it, together with what becomes of it.
        kept = [] if tags[0] == DELETE or is_replaced else [before[0]]
        tags[0] = replace_tag([*inserted[-1], *kept, *inserted.get(0, [])])
    if before and not before[-1][0].isalnum() and tags[-1] == DELETE:
        tags[-1] = KEEP
    return tags


def share_tags(source: str, rewrites: Sequence[WeightedRewrite]) -> list[Mapping[str, float]]:
    """Returns for each word of `source` the share of each tag among its rewrites.

    A rewrite counts by its weight and by how much of the sentence it leaves alone: an edit model learns little of a
    sentence said anew.

    Raises:
        ValueError: there is no rewrite.
    """
    if not rewrites:
        raise ValueError("expected at least one rewrite")
    shares: list[dict[str, float]] = [{} for _ in split_words(source)]
    total = 0.0
    for rewrite in rewrites:
        tags = tag_words(source, rewrite.text)
        edited = sum(tag != KEEP for tag in tags) / max(1, len(tags))
        weight = rewrite.weight * ((1.0 - edited) ** _CLOSENESS if edited <= _MAX_EDITED_SHARE else _PARAPHRASE_WEIGHT)
        total += weight
        for share, tag in zip(shares, tags, strict=True):
            share[tag] = share.get(tag, 0.0) + weight
    return [{tag: weight / total for tag, weight in share.items()} for share in shares]


def _plain_words(text: str) -> list[str]:
    return [plain_form(text[word.start : word.end]) for word in split_words(text)]


def _align(before: Sequence[str], after: Sequence[str]) -> list[tuple[_Step, int, str]]:
    """Returns the cheapest steps from one list of words to another: each with the word it is about and the new one."""
    costs = [[0.0] * (len(after) + 1) for _ in range(len(before) + 1)]
    steps = [[_Step.INSERT] * (len(after) + 1) for _ in range(len(before) + 1)]
    for i in range(len(before) + 1):
        for j in range(len(after) + 1):
            options = []
            if i:
                options.append((costs[i - 1][j] + _GAP_COST, _Step.DROP))
            if j:
                options.append((costs[i][j - 1] + _GAP_COST, _Step.INSERT))
            if i and j:
                cost = _substitution_cost(before[i - 1], after[j - 1])
                options.append((costs[i - 1][j - 1] + cost, _Step.SUBSTITUTE if cost else _Step.SAME))
            if options:
                costs[i][j], steps[i][j] = min(options, key=lambda option: option[0])
    path: list[tuple[_Step, int, str]] = []
    i, j = len(before), len(after)
    while i or j:
        step = steps[i][j]
        i -= step is not _Step.INSERT
        j -= step is not _Step.DROP
        path.append((step, i, "" if step is _Step.DROP else after[j]))
    return path[::-1]


def _substitution_cost(word: str, other: str) -> float:
    if word == other:
        return 0.0
    if word[0].isalnum() != other[0].isalnum():
        return _WORD_FOR_SIGN_COST
    likeness = SequenceMatcher(None, word, other, autojunk=False).ratio()
    return _MIN_SUBSTITUTION_COST + _UNLIKENESS_COST * (1.0 - likeness)
