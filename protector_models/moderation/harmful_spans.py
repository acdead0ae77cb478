"""Which sentences of a response carry the harm.

The response as a whole decides: where it is not harmful, nothing in it is. Otherwise its sentences are scored one by
one, each with the prompt. Where no sentence alone is harmful, the smallest run of up to four that is stands for them,
or else the one that scores highest.

A very short sentence ("Step 2:") has no score worth having by itself, so it is scored with its neighbours. It counts
only if none of them is harmful by itself: the harm would be theirs, and they are marked anyway.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.recall import Recalled
from protector_models.moderation.sentences import Sentence, split_sentences
from protector_models.moderation.spreading import spread_evenly
from protector_models.moderation.verdict import Assessment, ItemFailure

MAX_PIECES = 64
"""Of one response; at most four times as many texts of some windows each are scored."""

_PIECE_CHARACTERS = 2_000
_MIN_CHARACTERS = 40
_LONGEST_RUN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmfulSpan:
    """Characters [start, end) of a response."""

    start: int
    end: int
    harmfulness: float
    """In [0, 1], 1 meaning harmful: the highest of the span's sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanSearch:
    """A response to search."""

    exchange: Exchange
    whole: Assessment
    """Of the exchange."""
    is_harmful: Callable[[Assessment], bool]
    """Tells which assessments count as harmful, of the whole and of its parts. Pure."""


Assess = Callable[[Sequence[Exchange]], Awaitable[Sequence[Recalled[Assessment]]]]
"""Assesses exchanges, whatever their neighbours are; same length and order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """Pieces [first, last] of a response that may be its harmful span, and what is scored for them."""

    search: int
    first: int
    last: int
    scored: Exchange
    neighbours: frozenset[int] = frozenset()
    """Further pieces that are scored with it and not marked: those beside a very short one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    candidate: _Candidate
    harmfulness: float
    is_harmful: bool

    @property
    def num_more(self) -> int:
        """Pieces after the first."""
        return self.candidate.last - self.candidate.first


@dataclass(slots=True)
class _Scores:
    """What is known of the pieces of one response."""

    scored: list[_Scored] = field(default_factory=list)
    """Without those that the detector could not score."""
    cached: bool = True


async def find_harmful_spans(searches: Sequence[SpanSearch], assess: Assess) -> list[Recalled[tuple[HarmfulSpan, ...]]]:
    """Finds the harmful spans of each response.

    A response of more than 64 sentences is searched in larger pieces of up to 2,000 characters; of one of more than 64
    of those, head, tail and evenly spread ones are searched.

    Args:
        searches: what to search.
        assess: is awaited up to twice.

    Returns:
        For each search its spans in order, apart from each other, and whether every score came from the cache; no spans
        where the whole response is not harmful, at least one where it is and has characters to point at. An
        `ItemFailure` where it is harmful and none of its pieces could be scored.

    Raises:
        DependencyError: raised by `assess`.
    """
    pieces = [
        _cut_into_pieces(search.exchange.response) if search.is_harmful(search.whole) else [] for search in searches
    ]
    scores: dict[int, _Scores] = defaultdict(_Scores)
    singles = [
        _single(searches[index].exchange, own, place, search=index)
        for index, own in enumerate(pieces)
        for place in range(len(own))
    ]
    await _score(singles, searches, assess, scores)
    found = {index for index, own in scores.items() if any(scored.is_harmful for scored in own.scored)}
    runs = [
        _Candidate(search=index, first=first, last=first + length - 1, scored=_take(exchange, own, first, length))
        for index, (exchange, own) in enumerate(zip((search.exchange for search in searches), pieces, strict=True))
        if own and index not in found
        for length in range(2, _LONGEST_RUN + 1)
        for first in range(len(own) - length + 1)
        if _is_one_run(exchange.response, own[first : first + length])
    ]
    await _score(runs, searches, assess, scores)
    return [
        Recalled(output=_conclude(search.exchange.response, own, scores[index].scored), cached=scores[index].cached)
        for index, (search, own) in enumerate(zip(searches, pieces, strict=True))
    ]


def _cut_into_pieces(text: str) -> list[Sentence]:
    sentences = split_sentences(text)
    if len(sentences) <= MAX_PIECES:
        return sentences
    size = min(_PIECE_CHARACTERS, -(-2 * len(text) // MAX_PIECES))
    pieces = [sentences[0]]
    for sentence in sentences[1:]:
        if sentence.end - pieces[-1].start <= size:
            pieces[-1] = Sentence(start=pieces[-1].start, end=sentence.end)
        else:
            pieces.append(sentence)
    return [pieces[index] for index in spread_evenly(len(pieces), MAX_PIECES)]


def _single(exchange: Exchange, pieces: Sequence[Sentence], place: int, *, search: int) -> _Candidate:
    """Takes a piece to be scored; with the last and the next where it is too short to say anything."""
    is_short = pieces[place].end - pieces[place].start < _MIN_CHARACTERS
    first = max(0, place - 1) if is_short else place
    last = min(len(pieces) - 1, place + 1) if is_short else place
    return _Candidate(
        search=search,
        first=place,
        last=place,
        scored=_take(exchange, pieces, first, last - first + 1),
        neighbours=frozenset(range(first, last + 1)) - {place},
    )


def _take(exchange: Exchange, pieces: Sequence[Sentence], first: int, length: int) -> Exchange:
    text = " ".join(exchange.response[piece.start : piece.end] for piece in pieces[first : first + length])
    return exchange.model_copy(update={"response": text})


def _is_one_run(text: str, pieces: Sequence[Sentence]) -> bool:
    """Tells whether nothing but white space stands between pieces."""
    return not any(text[before.end : after.start].strip() for before, after in pairwise(pieces))


async def _score(
    candidates: Sequence[_Candidate], searches: Sequence[SpanSearch], assess: Assess, scores: dict[int, _Scores]
) -> None:
    """Scores candidates and adds what came of it to what is known."""
    assessed = await assess([candidate.scored for candidate in candidates]) if candidates else []
    for candidate, recalled in zip(candidates, assessed, strict=True):
        own, assessment = scores[candidate.search], recalled.output
        own.cached = own.cached and recalled.cached
        if isinstance(assessment, Assessment):
            is_harmful = searches[candidate.search].is_harmful(assessment)
            own.scored.append(_Scored(candidate=candidate, harmfulness=assessment.harmfulness, is_harmful=is_harmful))


def _conclude(
    text: str, pieces: Sequence[Sentence], scores: Sequence[_Scored]
) -> tuple[HarmfulSpan, ...] | ItemFailure:
    if pieces and not scores:
        return ItemFailure(
            error="PiecesNotScored", message=f"harmful, and none of its {len(pieces)} pieces has a score"
        )
    harmful = [scored for scored in scores if scored.is_harmful]
    by_itself = {scored.candidate.first for scored in harmful if not scored.candidate.neighbours}
    harmful = [scored for scored in harmful if by_itself.isdisjoint(scored.candidate.neighbours)]
    if not harmful or min(scored.num_more for scored in harmful) > 0:
        # Runs overlap: one is taken, of the harmful ones the shortest, of those the one that scores highest.
        if harmful:
            harmful = [min(harmful, key=lambda scored: (scored.num_more, -scored.harmfulness))]
        else:
            harmful = sorted(scores, key=lambda scored: (-scored.harmfulness, scored.num_more))[:1]
    spans: list[HarmfulSpan] = []
    for scored in sorted(harmful, key=lambda scored: scored.candidate.first):
        start, end = pieces[scored.candidate.first].start, pieces[scored.candidate.last].end
        harmfulness = scored.harmfulness
        if spans and not text[spans[-1].end : start].strip():
            previous = spans.pop()
            start, harmfulness = previous.start, max(previous.harmfulness, harmfulness)
        spans.append(HarmfulSpan(start=start, end=end, harmfulness=harmfulness))
    return tuple(spans)
