"""Which sentences of a response carry the harm.

The response as a whole decides: where it is not harmful, nothing in it is. Otherwise its sentences are scored one by
one, each with the prompt. Where no sentence alone is harmful, the smallest run of up to four that is stands for them,
or else the one that scores highest.

A very short sentence ("Step 2:") has no score worth having by itself, so it is scored with its neighbours. It counts
only if none of them is harmful by itself: the harm would be theirs, and they are marked anyway.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from protector_models.in_process import SynchronousHarmDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.verdict import Assessment, ItemFailure
from protector_models.sentences import Sentence, split_sentences
from protector_models.text_windows import spread_evenly

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
class _Candidate:
    """Pieces [first, last] of a response that may be its harmful span, and what is scored for them."""

    exchange: int
    first: int
    last: int
    scored: Exchange
    neighbours: frozenset[int] = frozenset()
    """Further pieces that are scored with it and not marked: those beside a very short one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    candidate: _Candidate
    harmfulness: float

    @property
    def num_more(self) -> int:
        """Pieces after the first."""
        return self.candidate.last - self.candidate.first


def find_harmful_spans(
    exchanges: Sequence[Exchange], detector: SynchronousHarmDetector, *, threshold: float
) -> list[list[HarmfulSpan] | ItemFailure]:
    """Finds the harmful spans of each response.

    A response of more than 64 sentences is searched in larger pieces of up to 2,000 characters; of one of more than 64
    of those, head, tail and evenly spread ones are searched.

    Args:
        exchanges: what the responses answered, and the responses.
        detector: its `assess` is called up to three times.
        threshold: harmfulness from which on a text is harmful, in [0, 1].

    Returns:
        For each exchange its spans in order, apart from each other; none where the whole response is below the
        threshold, at least one where it is not and has characters to point at. An `ItemFailure` where the detector
        could not score it, or it is harmful and none of its pieces could be scored.
    """
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must be in [0, 1], got {threshold}")
    wholes = detector.assess(exchanges)
    is_harmful = [isinstance(whole, Assessment) and whole.harmfulness >= threshold for whole in wholes]
    pieces = [
        _cut_into_pieces(exchange.response) if harmful else []
        for exchange, harmful in zip(exchanges, is_harmful, strict=True)
    ]
    singles = [
        _single(exchanges[index], own, place, exchange_index=index)
        for index, own in enumerate(pieces)
        for place in range(len(own))
    ]
    scores_by_exchange: dict[int, list[_Scored]] = defaultdict(list)
    for scored in _score(singles, detector):
        scores_by_exchange[scored.candidate.exchange].append(scored)
    found = {
        index for index, own in scores_by_exchange.items() if any(scored.harmfulness >= threshold for scored in own)
    }
    runs = [
        _Candidate(
            exchange=index, first=first, last=first + length - 1, scored=_take(exchanges[index], own, first, length)
        )
        for index, own in enumerate(pieces)
        if own and index not in found
        for length in range(2, _LONGEST_RUN + 1)
        for first in range(len(own) - length + 1)
        if _is_one_run(exchanges[index].response, own[first : first + length])
    ]
    for scored in _score(runs, detector):
        scores_by_exchange[scored.candidate.exchange].append(scored)
    return [
        whole
        if isinstance(whole, ItemFailure)
        else _conclude(exchanges[index].response, pieces[index], scores_by_exchange[index], threshold)
        for index, whole in enumerate(wholes)
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


def _single(exchange: Exchange, pieces: Sequence[Sentence], place: int, *, exchange_index: int) -> _Candidate:
    """Takes a piece to be scored; with the last and the next where it is too short to say anything."""
    is_short = pieces[place].end - pieces[place].start < _MIN_CHARACTERS
    first = max(0, place - 1) if is_short else place
    last = min(len(pieces) - 1, place + 1) if is_short else place
    return _Candidate(
        exchange=exchange_index,
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


def _score(candidates: Sequence[_Candidate], detector: SynchronousHarmDetector) -> list[_Scored]:
    """Scores candidates; leaves out those that the detector could not score."""
    outcomes = detector.assess([candidate.scored for candidate in candidates]) if candidates else []
    return [
        _Scored(candidate=candidate, harmfulness=outcome.harmfulness)
        for candidate, outcome in zip(candidates, outcomes, strict=True)
        if isinstance(outcome, Assessment)
    ]


def _conclude(
    text: str, pieces: Sequence[Sentence], scores: Sequence[_Scored], threshold: float
) -> list[HarmfulSpan] | ItemFailure:
    if pieces and not scores:
        return ItemFailure(
            error="PiecesNotScored", message=f"harmful, and none of its {len(pieces)} pieces has a score"
        )
    harmful = [scored for scored in scores if scored.harmfulness >= threshold]
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
    return spans
