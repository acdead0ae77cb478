"""Sentences that stay in a response whose harm is taken out: each is read by itself, as company hides what it says.

An answer from which an insult was taken may still hold the threat beside it, in polite words. So a sentence stays only
where no rule comes near it: its scores keep a margin to the thresholds, and a larger one in a short answer of which
another sentence is an insult, a threat or hate.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.harmful_spans import Assess, HarmfulSpan, join_sentences
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.sentences import Sentence, split_sentences

MAX_KEPT_PIECES = 256
"""That are read by themselves; where there are more sentences, neighbours are read together, all of them."""

_SHORT_ANSWER = 5
"""Sentences of an answer in which one that is an insult, a threat or hate makes the others suspect."""
_SUSPICIOUS = frozenset({"harassment", "hate", "violence"})
_WORD = re.compile(r"\w")
_QUESTION_CHARACTERS = 400
"""Of a question that stand beside each piece: a window or two of the shipped detector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSearch:
    """A response, and what of it is known to be harmful."""

    exchange: Exchange
    harmful: Sequence[HarmfulSpan]
    """In order, apart from each other."""
    rules: TenantRules

    def margin(self) -> float:
        """Return the share of a threshold by which a sentence has to stay below it."""
        is_suspect = any(not _SUSPICIOUS.isdisjoint(span.categories) for span in self.harmful)
        if is_suspect and len(split_sentences(self.exchange.response)) <= _SHORT_ANSWER:
            return max(self.rules.suspect_margin, self.rules.release_margin)
        return self.rules.release_margin


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtfulSpans:
    """The sentences of a response that are not known to be harmful, and of which the detector is not sure."""

    spans: tuple[HarmfulSpan, ...]
    """In order, apart from each other and from the harmful ones."""
    cached: bool
    """True if every score came from the cache."""


def find_kept_passages(response: str, left_out: Sequence[HarmfulSpan]) -> list[Sentence]:
    """Return what lies before, between and behind spans of a response and holds a word, in order."""
    edges = [0, *chain.from_iterable((span.start, span.end) for span in left_out), len(response)]
    return [
        Sentence(start=start, end=end)
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if _WORD.search(response, start, end)
    ]


def find_kept_pieces(response: str, left_out: Sequence[HarmfulSpan]) -> list[Sentence]:
    """Return the sentences outside of spans that hold a word, in order; neighbours together where they are many."""
    passages = find_kept_passages(response, left_out)
    places = [
        [
            Sentence(start=passage.start + one.start, end=passage.start + one.end)
            for one in split_sentences(response[passage.start : passage.end])
        ]
        for passage in passages
    ]
    if sum(map(len, places)) > MAX_KEPT_PIECES:
        size = -(-2 * len(response) // MAX_KEPT_PIECES)
        places = [join_sentences(found, max_characters=size) for found in places]
    return [place for found in places for place in found if _WORD.search(response, place.start, place.end)]


def read_by_itself(exchange: Exchange, piece: str) -> tuple[Exchange, Exchange]:
    """Return what a detector reads to judge a piece by itself: as an answer to the question, and as a text alone.

    Some harm shows in the light of the question alone. Other harm hides behind one: to it a threat is an odd answer.
    Of a long question both ends are read: the whole of it was read with the whole answer, and would be read anew with
    each of many pieces.
    """
    question = exchange.question()
    if len(question) > _QUESTION_CHARACTERS:
        half = _QUESTION_CHARACTERS // 2
        question = f"{question[:half]}\n{question[-half:]}"
    return Exchange(prompt=question, response=piece), Exchange(prompt="", response=piece)


async def find_doubtful_spans(searches: Sequence[KeptSearch], assess: Assess) -> list[DoubtfulSpans]:
    """Finds the sentences beside the harmful ones of which the detector is not sure, or that it cannot score.

    Args:
        searches: what to search.
        assess: is awaited at most once.

    Returns:
        Those sentences of each search.

    Raises:
        DependencyError: raised by `assess`.
    """
    size = sum(len(search.exchange.response) for search in searches)
    places, margins = await off_loop(
        size,
        lambda: (
            [find_kept_pieces(search.exchange.response, search.harmful) for search in searches],
            [search.margin() for search in searches],
        ),
    )
    exchanges = [
        reading
        for search, found in zip(searches, places, strict=True)
        for place in found
        for reading in read_by_itself(search.exchange, search.exchange.response[place.start : place.end])
    ]
    assessed = iter(await assess(exchanges) if exchanges else [])
    results: list[DoubtfulSpans] = []
    for search, found, margin in zip(searches, places, margins, strict=True):
        scored = [(place, (next(assessed), next(assessed))) for place in found]
        doubtful = tuple(
            HarmfulSpan(
                start=place.start,
                end=place.end,
                harmfulness=max(
                    one.output.harmfulness if isinstance(one.output, Assessment) else 1.0 for one in readings
                ),
            )
            for place, readings in scored
            if not all(
                isinstance(one.output, Assessment) and search.rules.is_clear(one.output, margin) for one in readings
            )
        )
        cached = all(one.cached for _, readings in scored for one in readings)
        results.append(DoubtfulSpans(spans=doubtful, cached=cached))
    return results
