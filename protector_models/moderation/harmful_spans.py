"""Harmful spans: the sentences of a response that carry the harm.

The response as a whole decides: where it is not harmful, nothing in it is. A detector that judges every piece of a
response has said already which ones are: nothing is scored again. With any other one the sentences are scored one by
one, each with the prompt. Where no sentence alone is harmful, the smallest run of up to four that is stands for them,
or else the one that scores highest.

A very short sentence ("Step 2:") has no score worth having by itself, so it is scored with its neighbours. That
counts only if none of them is harmful by itself: the harm would be theirs, and they are marked anyway. What is marked
then is the smallest harmful run around it: the short one alone, or with one neighbour, or with both. Whatever is
marked was scored as it stands.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from protector_models.moderation.cached_outputs import ObtainedOutput
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.even_sampling import sample_evenly
from protector_models.moderation.model_outputs import Assessment, ItemFailure, ScoredPiece
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.sentences import Sentence, split_sentences

MAX_PIECES = 64
"""Of one response; at most four times as many texts of some windows each are scored."""

_PIECE_CHARACTERS = 2_000
_MIN_CHARACTERS = 40
_LONGEST_RUN = 4
_NEAR = 0.5
"""Share of its harmfulness from which on a category's score says that a text is of that kind too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmfulSpan:
    """Characters [start, end) of a response."""

    start: int
    end: int
    harmfulness: float
    """In [0, 1], 1 meaning harmful: the highest of the runs of sentences that were marked in it."""
    categories: frozenset[str] = frozenset()
    """What harm it is: of each run that was marked in it the categories that score at least half of its harmfulness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanSearch:
    """A response to search."""

    exchange: Exchange
    whole: Assessment
    """Of the exchange."""
    is_harmful: Callable[[Assessment], bool]
    """Tells which assessments count as harmful, of the whole and of its parts. Pure."""


Assess = Callable[[Sequence[Exchange]], Awaitable[Sequence[ObtainedOutput[Assessment]]]]
"""Assesses exchanges, whatever their neighbours are; same length and order."""


class _Run(NamedTuple):
    """Pieces [first, last] of a response, with nothing but white space between them: scored, and marked, as one."""

    first: int
    last: int

    @property
    def num_more(self) -> int:
        """Pieces after the first."""
        return self.last - self.first

    def holds(self, other: "_Run") -> bool:
        """Tell whether another run lies in this one; a run lies in itself."""
        return self.first <= other.first and other.last <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    run: _Run
    harmfulness: float
    categories: frozenset[str]
    is_harmful: bool


@dataclass(slots=True, kw_only=True)
class _Progress:
    """What is known of one response."""

    search: SpanSearch
    pieces: Sequence[Sentence]
    """None are there where the response is not harmful."""
    scored: dict[_Run, _Scored] = field(default_factory=dict)
    """Without those that the detector could not score."""
    cached: bool = True

    def harmful(self) -> list[_Scored]:
        """Return the harmful runs."""
        return [scored for scored in self.scored.values() if scored.is_harmful]

    def is_short(self, place: int) -> bool:
        """Tell whether a piece is too short to say anything by itself."""
        return self.pieces[place].end - self.pieces[place].start < _MIN_CHARACTERS

    def run_around(self, place: int) -> _Run:
        """Return what to score for a piece: itself, with the last and the next where it is short."""
        if not self.is_short(place):
            return _Run(place, place)
        first = place - 1 if place > 0 and self._is_run(place - 1, place) else place
        last = place + 1 if place + 1 < len(self.pieces) and self._is_run(place, place + 1) else place
        return _Run(first, last)

    def smaller_runs(self) -> list[_Run]:
        """Return what lies around short pieces in harmful runs that have no piece that is harmful by itself."""
        harmful = {scored.run for scored in self.harmful()}
        by_itself = [run for run in harmful if run.num_more == 0]
        around = {place: self.run_around(place) for place in range(len(self.pieces)) if self.is_short(place)}
        return [
            run
            for place, outer in around.items()
            if outer in harmful and not any(outer.holds(run) for run in by_itself)
            for run in (_Run(place, place), _Run(outer.first, place), _Run(place, outer.last))
        ]

    def longer_runs(self) -> list[_Run]:
        """Return all runs of two to four pieces."""
        return [
            _Run(first, first + length - 1)
            for length in range(2, _LONGEST_RUN + 1)
            for first in range(len(self.pieces) - length + 1)
            if self._is_run(first, first + length - 1)
        ]

    def _is_run(self, first: int, last: int) -> bool:
        text = self.search.exchange.response
        return not any(text[one.end : other.start].strip() for one, other in pairwise(self.pieces[first : last + 1]))


async def find_harmful_spans(
    searches: Sequence[SpanSearch], assess: Assess
) -> list[ObtainedOutput[tuple[HarmfulSpan, ...]]]:
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
    size = sum(len(search.exchange.response) for search in searches)
    progress = await off_loop(
        size, lambda: [_Progress(search=search, pieces=_find_what_to_score(search)) for search in searches]
    )
    await _score([(one, one.run_around(place)) for one in progress for place in range(len(one.pieces))], assess)
    found = [bool(one.harmful()) for one in progress]
    further = [
        one.smaller_runs() if has_harmful else one.longer_runs()
        for one, has_harmful in zip(progress, found, strict=True)
    ]
    await _score([(one, run) for one, runs in zip(progress, further, strict=True) for run in runs], assess)
    return [
        ObtainedOutput(
            output=_mark_judged(one.search) if one.search.whole.pieces else _conclude(one, marks_all=has_harmful),
            cached=one.cached,
        )
        for one, has_harmful in zip(progress, found, strict=True)
    ]


def _find_what_to_score(search: SpanSearch) -> list[Sentence]:
    if search.whole.pieces or not search.is_harmful(search.whole):
        return []
    return _cut_into_pieces(search.exchange.response)


def _mark_judged(search: SpanSearch) -> tuple[HarmfulSpan, ...]:
    """Mark the pieces that the detector found harmful; the worst one where none is so by itself."""
    if not search.is_harmful(search.whole):
        return ()
    pieces = search.whole.pieces or ()
    harmful = [piece for piece in pieces if search.is_harmful(_as_whole(search.whole, piece))]
    marked = harmful or [max(pieces, key=lambda piece: piece.harmfulness)]
    return join_spans(
        search.exchange.response,
        [
            HarmfulSpan(
                start=piece.start,
                end=piece.end,
                harmfulness=piece.harmfulness,
                categories=_find_categories(piece.harmfulness, piece.categories),
            )
            for piece in marked
        ],
    )


def _as_whole(whole: Assessment, piece: ScoredPiece) -> Assessment:
    return whole.model_copy(update={"harmfulness": piece.harmfulness, "categories": piece.categories})


def _cut_into_pieces(text: str) -> list[Sentence]:
    sentences = split_sentences(text)
    if len(sentences) <= MAX_PIECES:
        return sentences
    size = min(_PIECE_CHARACTERS, -(-2 * len(text) // MAX_PIECES))
    pieces = join_sentences(sentences, max_characters=size)
    return [pieces[index] for index in sample_evenly(len(pieces), MAX_PIECES)]


def join_sentences(sentences: Sequence[Sentence], *, max_characters: int) -> list[Sentence]:
    """Return sentences of a text, in order; neighbours that are together no longer than that are one."""
    pieces: list[Sentence] = []
    for sentence in sentences:
        if pieces and sentence.end - pieces[-1].start <= max_characters:
            pieces[-1] = Sentence(start=pieces[-1].start, end=sentence.end)
        else:
            pieces.append(sentence)
    return pieces


async def _score(wanted: Iterable[tuple[_Progress, _Run]], assess: Assess) -> None:
    """Score runs that have no score yet, and add what comes of it to what is known."""
    lacking = list({(id(one), run): (one, run) for one, run in wanted if run not in one.scored}.values())
    assessed = await assess([_take(one, run) for one, run in lacking]) if lacking else []
    for (one, run), scored in zip(lacking, assessed, strict=True):
        assessment = scored.output
        one.cached = one.cached and scored.cached
        if isinstance(assessment, Assessment):
            is_harmful = one.search.is_harmful(assessment)
            one.scored[run] = _Scored(
                run=run,
                harmfulness=assessment.harmfulness,
                categories=_find_categories(assessment.harmfulness, assessment.categories),
                is_harmful=is_harmful,
            )


def _take(one: _Progress, run: _Run) -> Exchange:
    exchange = one.search.exchange
    text = exchange.response[one.pieces[run.first].start : one.pieces[run.last].end]
    return exchange.model_copy(update={"response": text})


def _conclude(one: _Progress, *, marks_all: bool) -> tuple[HarmfulSpan, ...] | ItemFailure:
    """Choose what to mark: all harm there is around single pieces, or one run where there is none."""
    if one.pieces and not one.scored:
        return ItemFailure(
            error="PiecesNotScored", message=f"harmful, and none of its {len(one.pieces)} pieces has a score"
        )
    harmful = one.harmful()
    # A run that holds a smaller harmful one is harmful for its sake.
    smallest = [
        scored
        for scored in harmful
        if not any(other is not scored and scored.run.holds(other.run) for other in harmful)
    ]
    smallest.sort(key=lambda scored: (scored.run.num_more, -scored.harmfulness))
    if not smallest:
        marked = sorted(one.scored.values(), key=lambda scored: (-scored.harmfulness, scored.run.num_more))[:1]
    elif marks_all:
        marked = _choose(one, smallest)
    else:
        marked = smallest[:1]
    pieces = one.pieces
    return join_spans(
        one.search.exchange.response,
        [
            HarmfulSpan(
                start=pieces[scored.run.first].start,
                end=pieces[scored.run.last].end,
                harmfulness=scored.harmfulness,
                categories=scored.categories,
            )
            for scored in sorted(marked, key=lambda scored: scored.run)
        ],
    )


def _choose(one: _Progress, smallest: Sequence[_Scored]) -> list[_Scored]:
    """Leave out runs whose short pieces are in runs that stand before: one for each is enough."""
    marked: list[_Scored] = []
    reached: set[int] = set()
    for scored in smallest:
        places = range(scored.run.first, scored.run.last + 1)
        if scored.run.num_more == 0 or any(one.is_short(place) and place not in reached for place in places):
            marked.append(scored)
            reached.update(places)
    return marked


def _find_categories(harmfulness: float, scores: Mapping[str, float]) -> frozenset[str]:
    return frozenset(name for name, score in scores.items() if score > 0 and score >= _NEAR * harmfulness)


def join_spans(text: str, spans: Iterable[HarmfulSpan]) -> tuple[HarmfulSpan, ...]:
    """Return spans of a text in order; what overlaps, or has nothing but white space between it, is one."""
    joined: list[HarmfulSpan] = []
    for span in sorted(spans, key=lambda one: (one.start, one.end)):
        if joined and not text[joined[-1].end : span.start].strip():
            last = joined[-1]
            joined[-1] = HarmfulSpan(
                start=last.start,
                end=max(last.end, span.end),
                harmfulness=max(last.harmfulness, span.harmfulness),
                categories=last.categories | span.categories,
            )
        else:
            joined.append(span)
    return tuple(joined)
