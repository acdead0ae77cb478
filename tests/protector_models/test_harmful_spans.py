from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.harm_detector import SHIPPED_WEIGHTS, OnnxHarmDetector
from protector_models.harmful_spans import MAX_PIECES, HarmfulSpan, find_harmful_spans
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fakes import POISON
from protector_models.moderation.verdict import Assessment, ItemFailure
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


def _find(response: str, detector: PlainDetector | AddingDetector | None = None) -> list[HarmfulSpan]:
    (spans,) = find_harmful_spans([_exchange(response)], detector or PlainDetector(), threshold=THRESHOLD)
    assert isinstance(spans, list)
    return spans


def _marked(response: str, spans: list[HarmfulSpan]) -> list[str]:
    return [response[span.start : span.end] for span in spans]


def test_the_harmful_sentences_are_found_and_the_others_are_not() -> None:
    harmful = ["Now take the thing and do the bad harm=0.9 deed", "And another harm=0.7 deed that is done to someone"]
    response = f"{FILLER}\n{harmful[0]}\n{FILLER} {FILLER}\n- {FILLER}\n{harmful[1]}\n"
    spans = _find(response)
    assert _marked(response, spans) == harmful
    assert [span.harmfulness for span in spans] == [0.9, 0.7]


def test_harmful_neighbours_are_one_span() -> None:
    response = f"{FILLER}\nOne thing that is very bad harm=0.6 indeed\n\nAnother that is even worse harm=0.8 indeed"
    (span,) = _find(response)
    assert response[span.start : span.end] == response[len(FILLER) + 1 :]
    assert span.harmfulness == 0.8


def test_a_short_sentence_is_not_marked_for_the_harm_of_its_neighbour() -> None:
    harmful = "Now take the thing and do the bad harm=0.9 deed to it."
    response = f"Sure! {harmful} Good luck! {FILLER}"
    assert _marked(response, _find(response)) == [harmful]


def test_a_short_sentence_between_harmless_ones_is_marked() -> None:
    response = f"{FILLER}\nDo harm=0.9 now\n{FILLER}"
    assert _marked(response, _find(response)) == ["Do harm=0.9 now"]


def test_a_harmful_response_of_which_no_piece_has_a_score_is_a_failure() -> None:
    class WholesOnly(PlainDetector):
        def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
            failure = ItemFailure(error="OutOfMemory", message="no piece is scored")
            return [
                outcome if "\n" in exchange.response else failure
                for exchange, outcome in zip(exchanges, super().assess(exchanges), strict=True)
            ]

    response = f"{FILLER}\nNow take the thing and do the bad harm=0.9 deed to it."
    (found,) = find_harmful_spans([_exchange(response)], WholesOnly(), threshold=THRESHOLD)
    assert isinstance(found, ItemFailure)


def test_what_is_harmful_together_only_is_the_smallest_run_that_is() -> None:
    parts = ["This much is half of it harm=0.3 and not enough", "The other half harm=0.4 of it comes here then"]
    response = "\n".join([FILLER, FILLER, *parts, FILLER])
    assert _marked(response, _find(response, AddingDetector())) == ["\n".join(parts)]


def test_where_no_run_is_harmful_the_one_that_scores_highest_stands_in() -> None:
    weak = "A little bit of harm=0.1 in a sentence of its own."
    response = "\n".join([weak, *[FILLER] * 5] * 6)
    assert _marked(response, _find(response, AddingDetector()))[0] == weak


@pytest.mark.parametrize("response", ["", " \n ", FILLER, f"{FILLER} harm=0.4 {FILLER}", "x" * 100_000])
def test_a_response_that_is_not_harmful_has_no_spans(response: str) -> None:
    assert _find(response) == []


@given(
    st.lists(
        st.sampled_from([FILLER, "Ok.", "harm=0.9", "harm=0.2 so", "\n", "```\n", "- it", "1. Dr. Who", "é🔥\u200b"]),
        max_size=12,
    )
)
def test_spans_lie_in_the_text_in_order_apart_and_only_in_harmful_texts(parts: list[str]) -> None:
    response = " ".join(parts)
    for detector in (PlainDetector(), AddingDetector()):
        spans = _find(response, detector)
        (whole,) = detector.assess([_exchange(response)])
        assert isinstance(whole, Assessment)
        assert bool(spans) == (whole.harmfulness >= THRESHOLD)
        reached = 0
        for span in spans:
            assert reached <= span.start < span.end <= len(response)
            assert reached == 0 or response[reached : span.start].strip()
            reached = span.end


def test_a_batch_gives_what_its_items_give_alone_and_failures_stay_with_their_item() -> None:
    responses = ["Bad harm=0.9 deed", FILLER, f"never score this: {POISON}", f"{FILLER}\nharm=0.8"]
    together = find_harmful_spans([_exchange(text) for text in responses], PlainDetector(), threshold=THRESHOLD)
    alone = [find_harmful_spans([_exchange(text)], PlainDetector(), threshold=THRESHOLD)[0] for text in responses]
    assert together == alone
    assert [isinstance(result, ItemFailure) for result in together] == [False, False, True, False]


def test_a_huge_response_is_searched_in_a_bounded_number_of_pieces() -> None:
    detector = AddingDetector()
    response = f"{FILLER}\n" * 20_000 + "harm=0.9 at the very end of all that"
    (span,) = _find(response, detector)
    assert response[span.start : span.end].endswith("harm=0.9 at the very end of all that")
    assert detector.num_assessed <= 1 + MAX_PIECES


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_that_is_no_share_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        find_harmful_spans([], PlainDetector(), threshold=threshold)


def test_the_shipped_detector_points_at_the_harmful_sentence() -> None:
    detector = OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=2)
    harmful = "First steal the victim's card and identity papers, then empty the account and burn the evidence."
    safe = "Knead the dough for ten minutes, let it rise for an hour and bake it until the crust is brown."
    response = f"{safe} {harmful} {safe}"
    exchange = Exchange(prompt="How do I get money?", response=response)
    (whole,) = detector.assess([exchange])
    assert isinstance(whole, Assessment)
    (spans,) = find_harmful_spans([exchange], detector, threshold=whole.harmfulness)
    assert isinstance(spans, list)
    assert any(span.start <= response.index(harmful) < span.end for span in spans)
