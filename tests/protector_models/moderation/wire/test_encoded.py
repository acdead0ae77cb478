"""Batches of bytes to moderated conversations: one result for each, in order, whatever they are."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import POISON, FakeHarmDetector, RecordedMetrics
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import ModeratedConversation, Outcome, Verdict
from protector_models.moderation.wire.encoded import EncodedVerdict, FailedValue, moderate_encoded
from tests.wire import MAX_BYTES, encode, fake_moderator

pytestmark = pytest.mark.shipped

VALUES = st.none() | st.binary(max_size=20) | st.builds(lambda number: encode(event_id=f"e{number}"), st.integers(0, 9))


class MisencodingModerator:
    """A Moderator whose verdicts hold a text without a UTF-8 form."""

    async def moderate(self, events: Sequence[ConversationEvent]) -> list[Outcome]:
        outcomes = await fake_moderator().moderate(events)
        return [
            outcome.model_copy(update={"response": "\udcff"}) if isinstance(outcome, Verdict) else outcome
            for outcome in outcomes
        ]


class FaultyModerator:
    """A Moderator that breaks on a whole batch for one event in it."""

    async def moderate(self, events: Sequence[ConversationEvent]) -> list[Outcome]:
        if any(event.event_id == "culprit" for event in events):
            raise ZeroDivisionError("a fault that nobody foresaw")
        return await fake_moderator().moderate(events)


@given(values=st.lists(VALUES, max_size=8))
async def test_each_value_has_its_own_result_in_its_place(values: list[bytes | None]) -> None:
    results = await moderate_encoded(fake_moderator(), values, max_bytes=MAX_BYTES)
    assert len(results) == len(values)
    for value, result in zip(values, results, strict=True):
        (alone,) = await moderate_encoded(fake_moderator(), [value], max_bytes=MAX_BYTES)
        if isinstance(result, EncodedVerdict):
            assert isinstance(alone, EncodedVerdict)
            assert result.value.replace(b'"cached":true', b'"cached":false') == alone.value
        else:
            assert result == alone


async def test_a_verdict_tells_of_its_bytes() -> None:
    (result,) = await moderate_encoded(fake_moderator(), [encode(response="harm=0.9")], max_bytes=MAX_BYTES)
    assert isinstance(result, EncodedVerdict)
    moderated = ModeratedConversation.model_validate_json(result.value)
    assert (result.action, result.cached) == (moderated.action, moderated.cached)
    assert result.event.event_id == moderated.event_id == "event-1"


async def test_bytes_that_are_no_event_fail_in_decoding_and_never_reach_a_model() -> None:
    detector = FakeHarmDetector()
    (result,) = await moderate_encoded(fake_moderator(detector), [b"nonsense"], max_bytes=MAX_BYTES)
    assert isinstance(result, FailedValue)
    assert (result.event, result.failure.stage, result.failure.error) == (None, Stage.DECODE, "InvalidEvent")
    assert detector.assessed == []


async def test_an_event_that_the_model_cannot_handle_fails_alone_and_is_named() -> None:
    values = [encode(event_id="a"), encode(event_id="b", response=POISON), encode(event_id="c")]
    first, failed, last = await moderate_encoded(fake_moderator(), values, max_bytes=MAX_BYTES)
    assert isinstance(first, EncodedVerdict)
    assert isinstance(last, EncodedVerdict)
    assert isinstance(failed, FailedValue)
    assert failed.event is not None
    assert (failed.event.event_id, failed.failure.stage) == ("b", Stage.ASSESS)


async def test_a_fault_that_nobody_foresaw_costs_one_event() -> None:
    values = [encode(event_id=name) for name in ("a", "b", "culprit", "d", "e")]
    results = await moderate_encoded(FaultyModerator(), values, max_bytes=MAX_BYTES)
    assert [isinstance(result, FailedValue) for result in results] == [False, False, True, False, False]
    culprit = results[2]
    assert isinstance(culprit, FailedValue)
    assert culprit.failure.error == "ZeroDivisionError"


async def test_bytes_that_are_no_event_are_named_where_they_name_themselves() -> None:
    values = [encode(event_id="a", response=5), b"nonsense", encode(event_id="b", response=POISON)]
    results = await moderate_encoded(fake_moderator(), values, max_bytes=MAX_BYTES)
    assert [result.event_id for result in results if isinstance(result, FailedValue)] == ["a", None, "b"]


async def test_fields_that_were_passed_over_are_counted_once() -> None:
    metrics, detector = RecordedMetrics(), FakeHarmDetector()
    message: JsonValue = {"role": "user", "content": "Hi", "mood": "good", "weather": None}
    values = [encode(), encode(messages=[message, message]), b"nonsense"]
    detector.unavailable = True
    with pytest.raises(ModelUnavailableError):
        await moderate_encoded(fake_moderator(detector), values, max_bytes=MAX_BYTES, metrics=metrics)
    detector.unavailable = False
    await moderate_encoded(fake_moderator(detector), values, max_bytes=MAX_BYTES, metrics=metrics)
    assert metrics.total("weir_message_fields_ignored_total") == 4


async def test_a_verdict_that_cannot_be_written_is_a_failure_of_publishing() -> None:
    (result,) = await moderate_encoded(MisencodingModerator(), [encode()], max_bytes=MAX_BYTES)
    assert isinstance(result, FailedValue)
    assert (result.failure.stage, result.failure.error) == (Stage.PUBLISH, "UnencodableVerdict")


async def test_a_model_that_is_away_decides_nothing() -> None:
    detector = FakeHarmDetector()
    detector.unavailable = True
    with pytest.raises(ModelUnavailableError):
        await moderate_encoded(fake_moderator(detector), [encode(), b"nonsense"], max_bytes=MAX_BYTES)
