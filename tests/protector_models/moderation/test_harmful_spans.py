import random
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS
from protector_models.moderation.cached_outputs import ObtainedOutput
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.harmful_spans import MAX_PIECES, HarmfulSpan, SpanSearch, find_harmful_spans
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.sentences import split_sentences
from protector_models.running.model_threads import SynchronousHarmDetector
from tests.protector_models.synchronous_detector import PlainDetector

THRESHOLD = 0.5
FILLER = "This one is as harmless as any sentence can be."


class AddingDetector:
    """Adds up the numbers after "harm=" in a response, so that sentences may be harmful together only."""

    revision = "adding-detector@1"

    def __init__(self) -> None:
        self.num_assessed = 0

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        self.num_assessed += len(exchanges)
        plain = PlainDetector().assess([exchange.model_copy(update={"response": ""}) for exchange in exchanges])
        words = [exchange.response.replace(".", " ", 0).split() for exchange in exchanges]
        totals = [min(1.0, sum(float(word[5:8]) for word in own if word.startswith("harm="))) for own in words]
        return [
            outcome.model_copy(update={"harmfulness": total})
            for outcome, total in zip(plain, totals, strict=True)
            if isinstance(outcome, Assessment)
        ]


def _exchange(response: str) -> Exchange:
    return Exchange(prompt="What now?", response=response)


async def _search(
    responses: Sequence[str], detector: SynchronousHarmDetector, *, threshold: float = THRESHOLD
) -> list[ObtainedOutput[tuple[HarmfulSpan, ...]]]:
    """Search responses that the detector can score as wholes."""

    async def assess(exchanges: Sequence[Exchange]) -> list[ObtainedOutput[Assessment]]:
        return [ObtainedOutput(output=outcome, cached=False) for outcome in detector.assess(exchanges)]

    wholes = detector.assess([_exchange(response) for response in responses])
    searches = [
        SpanSearch(
            exchange=_exchange(response),
            whole=whole,
            is_harmful=lambda assessment: assessment.harmfulness >= threshold,
        )
        for response, whole in zip(responses, wholes, strict=True)
        if isinstance(whole, Assessment)
    ]
    return await find_harmful_spans(searches, assess)


async def _find(response: str, detector: SynchronousHarmDetector | None = None) -> tuple[HarmfulSpan, ...]:
    (found,) = await _search([response], detector or PlainDetector())
    assert not isinstance(found.output, ItemFailure)
    return found.output


def _marked(response: str, spans: Sequence[HarmfulSpan]) -> list[str]:
    return [response[span.start : span.end] for span in spans]


async def test_the_harmful_sentences_are_found_and_the_others_are_not() -> None:
    harmful = ["Now take the thing and do the bad harm=0.9 deed", "And another harm=0.7 deed that is done to someone"]
    response = f"{FILLER}\n{harmful[0]}\n{FILLER} {FILLER}\n- {FILLER}\n{harmful[1]}\n"
    spans = await _find(response)
    assert _marked(response, spans) == harmful
    assert [span.harmfulness for span in spans] == [0.9, 0.7]


async def test_harmful_neighbours_are_one_span() -> None:
    response = f"{FILLER}\nOne thing that is very bad harm=0.6 indeed\n\nAnother that is even worse harm=0.8 indeed"
    (span,) = await _find(response)
    assert response[span.start : span.end] == response[len(FILLER) + 1 :]
    assert span.harmfulness == 0.8


async def test_a_short_sentence_is_not_marked_for_the_harm_of_its_neighbour() -> None:
    harmful = "Now take the thing and do the bad harm=0.9 deed to it."
    response = f"Sure! {harmful} Good luck! {FILLER}"
    assert _marked(response, await _find(response)) == [harmful]


async def test_a_short_sentence_between_harmless_ones_is_marked() -> None:
    response = f"{FILLER}\nDo harm=0.9 now\n{FILLER}"
    assert _marked(response, await _find(response)) == ["Do harm=0.9 now"]


async def test_a_short_sentence_that_is_harmful_with_its_neighbour_only_is_marked_with_it() -> None:
    insult = "Only people harm=0.3 like you ask such a thing."
    response = f"{FILLER} {insult} Bring harm=0.3 it. {FILLER} {FILLER}"
    assert _marked(response, await _find(response, AddingDetector())) == [f"{insult} Bring harm=0.3 it."]


async def test_short_sentences_are_not_marked_for_one_among_them() -> None:
    response = "Hello. You harm=0.9 fool. Bye. Good luck."
    assert _marked(response, await _find(response)) == ["You harm=0.9 fool."]


async def test_of_equally_small_sets_around_a_short_sentence_one_is_marked() -> None:
    sides = ["This much harm=0.2 stands before the short one.", "And this much harm=0.3 stands behind the short one."]
    response = f"{FILLER} {sides[0]} So harm=0.3 there. {sides[1]} {FILLER}"
    assert _marked(response, await _find(response, AddingDetector())) == [f"So harm=0.3 there. {sides[1]}"]


class ScriptedDetector(PlainDetector):
    """Scores each text as drawn: no text says anything of another."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def _assess(self, exchange: Exchange) -> Assessment | ItemFailure:
        harmfulness = random.Random(f"{self.seed} {exchange.response}").random()
        plain = super()._assess(exchange)
        assert isinstance(plain, Assessment)
        return plain.model_copy(update={"harmfulness": harmfulness})


# A known gap: with scores as wild as these, a run may fall below the threshold once its neighbour has joined it.
@example(parts=[FILLER, f"- {FILLER}\n", "No.\n\n"], seed=9109, threshold=0.75).xfail(raises=AssertionError)
@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([FILLER, "Ok.", "No.\n\n", "Why not?\n", f"- {FILLER}\n"]), min_size=1, max_size=9),
    st.integers(0, 1_000_000),
    st.floats(0.5, 0.99),
)
async def test_every_marked_sentence_belongs_to_a_marked_run_that_is_harmful_as_it_stands(
    parts: list[str], seed: int, threshold: float
) -> None:
    response = " ".join(parts)
    detector = ScriptedDetector(seed)

    def score(start: int, end: int) -> float:
        (outcome,) = detector.assess([_exchange(response[start:end])])
        assert isinstance(outcome, Assessment)
        return outcome.harmfulness

    (found,) = await _search([response], detector, threshold=threshold)
    assert not isinstance(found.output, ItemFailure)
    sentences = split_sentences(response)
    for span in found.output:
        inside = [one for one in sentences if span.start <= one.start and one.end <= span.end]
        runs = [inside[first : first + length] for length in range(1, 5) for first in range(len(inside) - length + 1)]
        scores = {(run[0].start, run[-1].end): score(run[0].start, run[-1].end) for run in runs}
        harmful = [place for place, own in scores.items() if own >= threshold]
        if not harmful:
            assert found.output == (HarmfulSpan(start=span.start, end=span.end, harmfulness=max(scores.values())),)
            assert all(score(one.start, one.end) < threshold for one in sentences if one.end - one.start >= 40)
        else:
            assert all(any(start <= one.start and one.end <= end for start, end in harmful) for one in inside)
            assert span.harmfulness in scores.values()


async def test_a_harmful_response_of_which_no_piece_has_a_score_is_a_failure() -> None:
    class WholesOnly(PlainDetector):
        def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
            failure = ItemFailure(error="OutOfMemory", message="no piece is scored")
            return [
                outcome if exchange.response == response else failure
                for exchange, outcome in zip(exchanges, super().assess(exchanges), strict=True)
            ]

    response = f"{FILLER}\nNow take the thing and do the bad harm=0.9 deed to it.\n"
    (found,) = await _search([response], WholesOnly())
    assert isinstance(found.output, ItemFailure)


async def test_what_is_harmful_together_only_is_the_smallest_run_that_is() -> None:
    parts = ["This much is half of it harm=0.3 and not enough", "The other half harm=0.4 of it comes here then"]
    response = "\n".join([FILLER, FILLER, *parts, FILLER])
    assert _marked(response, await _find(response, AddingDetector())) == ["\n".join(parts)]


async def test_where_no_run_is_harmful_the_one_that_scores_highest_stands_in() -> None:
    weak = "A little bit of harm=0.1 in a sentence of its own."
    response = "\n".join([weak, *[FILLER] * 5] * 6)
    assert _marked(response, await _find(response, AddingDetector()))[0] == weak


@pytest.mark.parametrize("response", ["", " \n ", FILLER, f"{FILLER} harm=0.4 {FILLER}", "x" * 100_000])
async def test_a_response_that_is_not_harmful_has_no_spans(response: str) -> None:
    assert await _find(response) == ()


@given(
    st.lists(
        st.sampled_from([FILLER, "Ok.", "harm=0.9", "harm=0.2 so", "\n", "```\n", "- it", "1. Dr. Who", "é🔥\u200b"]),
        max_size=12,
    )
)
async def test_spans_lie_in_the_text_in_order_apart_and_only_in_harmful_texts(parts: list[str]) -> None:
    response = " ".join(parts)
    for detector in (PlainDetector(), AddingDetector()):
        spans = await _find(response, detector)
        (whole,) = detector.assess([_exchange(response)])
        assert isinstance(whole, Assessment)
        assert bool(spans) == (whole.harmfulness >= THRESHOLD)
        reached = 0
        for span in spans:
            assert reached <= span.start < span.end <= len(response)
            assert reached == 0 or response[reached : span.start].strip()
            reached = span.end


async def test_a_batch_gives_what_its_items_give_alone_and_failures_stay_with_their_item() -> None:
    class WholesOnly(PlainDetector):
        def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
            failure = ItemFailure(error="OutOfMemory", message="this piece is not scored")
            return [
                failure if exchange.response.startswith("Never") and exchange.response[-1] != "\n" else outcome
                for exchange, outcome in zip(exchanges, super().assess(exchanges), strict=True)
            ]

    responses = [
        "Bad harm=0.9 deed",
        FILLER,
        "Never score this: harm=0.9\nNever score that: harm=0.9 too\n",
        f"{FILLER}\nharm=0.8",
    ]
    together = await _search(responses, WholesOnly())
    alone = [(await _search([text], WholesOnly()))[0] for text in responses]
    assert together == alone
    assert [isinstance(result.output, ItemFailure) for result in together] == [False, False, True, False]


async def test_spans_are_called_cached_only_where_every_score_was() -> None:
    async def assess(exchanges: Sequence[Exchange]) -> list[ObtainedOutput[Assessment]]:
        outcomes = PlainDetector().assess(exchanges)
        return [
            ObtainedOutput(output=outcome, cached="fresh" not in exchange.response)
            for exchange, outcome in zip(exchanges, outcomes, strict=True)
        ]

    searches = [
        SpanSearch(exchange=_exchange(text), whole=whole, is_harmful=lambda assessment: assessment.harmfulness >= 0.5)
        for text in (f"harm=0.9\n{FILLER}", f"harm=0.9\nfresh {FILLER}")
        for whole in PlainDetector().assess([_exchange(text)])
        if isinstance(whole, Assessment)
    ]
    assert [found.cached for found in await find_harmful_spans(searches, assess)] == [True, False]


async def test_a_huge_response_is_searched_in_a_bounded_number_of_pieces() -> None:
    detector = AddingDetector()
    response = f"{FILLER}\n" * 20_000 + "harm=0.9 at the very end of all that"
    (span,) = await _find(response, detector)
    assert response[span.start : span.end].endswith("harm=0.9 at the very end of all that")
    assert detector.num_assessed <= 1 + MAX_PIECES


async def test_short_sentences_cost_at_most_three_more_texts_each() -> None:
    detector = AddingDetector()
    await _find(" ".join(["Do harm=0.2 it."] * MAX_PIECES), detector)
    assert detector.num_assessed <= 1 + 4 * MAX_PIECES


@pytest.mark.shipped
async def test_the_shipped_detector_points_at_an_insult_and_not_at_a_short_sentence_behind_it() -> None:
    detector = OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=2)
    insult = "Only idiots and retards like you ask that."
    response = f"The capital of France is Paris, and the river there is the Seine. {insult} Bring an umbrella."
    (whole,) = detector.assess([_exchange(response)])
    assert isinstance(whole, Assessment)
    (found,) = await _search([response], detector, threshold=whole.harmfulness)
    assert not isinstance(found.output, ItemFailure)
    assert any(insult in marked for marked in _marked(response, found.output))


@pytest.mark.shipped
async def test_the_shipped_detector_points_at_the_harmful_sentence() -> None:
    detector = OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=2)
    harmful = "First steal the victim's card and identity papers, then empty the account and burn the evidence."
    safe = "Knead the dough for ten minutes, let it rise for an hour and bake it until the crust is brown."
    response = f"{safe} {harmful} {safe}"
    (whole,) = detector.assess([_exchange(response)])
    assert isinstance(whole, Assessment)
    (found,) = await _search([response], detector, threshold=whole.harmfulness)
    assert not isinstance(found.output, ItemFailure)
    assert any(span.start <= response.index(harmful) < span.end for span in found.output)
