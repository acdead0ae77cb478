"""Harmful spans of a detector that judges every piece of a response: they cost no further call."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.cached_outputs import ObtainedOutput
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.harmful_spans import HarmfulSpan, SpanSearch, find_harmful_spans
from protector_models.moderation.model_outputs import Assessment, ItemFailure, ScoredPiece
from protector_models.moderation.sentences import split_sentences
from tests.builders import assessment, exchange

THRESHOLD = 0.5


def _is_harmful(found: Assessment) -> bool:
    return found.harmfulness >= THRESHOLD


async def _refuse(exchanges: Sequence[Exchange]) -> list[ObtainedOutput[Assessment]]:
    raise AssertionError(f"{len(exchanges)} exchanges are scored again")


def _judge(scores: Sequence[float], *, separator: str = " ") -> SpanSearch:
    """Make a response of a sentence for each score, and what a detector says of it that judges sentences."""
    response = separator.join(f"Sentence {number} stands here." for number in range(len(scores)))
    pieces = tuple(
        ScoredPiece(start=sentence.start, end=sentence.end, harmfulness=score, categories={})
        for sentence, score in zip(split_sentences(response), scores, strict=True)
    )
    whole = assessment(max(scores)).model_copy(update={"pieces": pieces})
    return SpanSearch(exchange=exchange(response), whole=whole, is_harmful=_is_harmful)


async def _find(search: SpanSearch) -> tuple[HarmfulSpan, ...]:
    (found,) = await find_harmful_spans([search], _refuse)
    assert not isinstance(found.output, ItemFailure)
    assert found.cached
    return found.output


def _marked(search: SpanSearch, spans: Sequence[HarmfulSpan]) -> list[str]:
    return [search.exchange.response[span.start : span.end] for span in spans]


async def test_the_pieces_that_are_harmful_by_themselves_are_marked() -> None:
    search = _judge([0.1, 0.9, 0.2, 0.6])
    spans = await _find(search)
    assert _marked(search, spans) == ["Sentence 1 stands here.", "Sentence 3 stands here."]
    assert [span.harmfulness for span in spans] == [0.9, 0.6]


@pytest.mark.parametrize("separator", [" ", "\n\n"])
async def test_harmful_neighbours_are_one_span(separator: str) -> None:
    search = _judge([0.1, 0.6, 0.9, 0.2], separator=separator)
    (span,) = await _find(search)
    assert _marked(search, [span]) == [f"Sentence 1 stands here.{separator}Sentence 2 stands here."]
    assert span.harmfulness == 0.9


async def test_where_no_piece_is_harmful_by_itself_the_worst_one_is_marked() -> None:
    search = _judge([0.1, 0.3, 0.4, 0.2])
    lifted = SpanSearch(
        exchange=search.exchange,
        whole=search.whole.model_copy(update={"harmfulness": 0.7}),
        is_harmful=_is_harmful,
    )
    assert _marked(search, await _find(lifted)) == ["Sentence 2 stands here."]


async def test_a_harmless_response_has_no_spans() -> None:
    assert await _find(_judge([0.1, 0.4])) == ()


async def test_the_rules_look_at_the_categories_of_a_piece() -> None:
    search = _judge([0.4, 0.4])
    pieces = search.whole.pieces or ()
    named = (pieces[0], pieces[1].model_copy(update={"categories": {"hate": 0.4}}))
    hateful = SpanSearch(
        exchange=search.exchange,
        whole=search.whole.model_copy(update={"pieces": named, "categories": {"hate": 0.4}}),
        is_harmful=lambda found: found.categories.get("hate", 0.0) > 0.3,
    )
    assert _marked(search, await _find(hateful)) == ["Sentence 1 stands here."]


@pytest.mark.parametrize("pieces", [None, ()])
async def test_a_detector_that_names_no_pieces_is_asked_about_sentences(pieces: tuple[ScoredPiece, ...] | None) -> None:
    asked: list[str] = []

    async def assess(exchanges: Sequence[Exchange]) -> list[ObtainedOutput[Assessment]]:
        asked.extend(one.response for one in exchanges)
        return [
            ObtainedOutput(output=assessment(0.9 if "1" in one.response else 0.1), cached=False) for one in exchanges
        ]

    search = _judge([0.9, 0.9])
    unnamed = SpanSearch(
        exchange=search.exchange, whole=search.whole.model_copy(update={"pieces": pieces}), is_harmful=_is_harmful
    )
    (found,) = await find_harmful_spans([unnamed], assess)
    assert asked
    assert not isinstance(found.output, ItemFailure)
    assert found.output


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=16))
async def test_what_is_marked_is_harmful_or_the_worst(scores: list[float]) -> None:
    search = _judge(scores)
    spans = await _find(search)
    assert bool(spans) == (max(scores) >= THRESHOLD)
    for piece in search.whole.pieces or ():
        is_marked = any(span.start <= piece.start and piece.end <= span.end for span in spans)
        assert is_marked == (piece.harmfulness >= THRESHOLD)
    assert max((span.harmfulness for span in spans), default=max(scores)) == max(scores)
