"""The conversations that come with the demonstration are what their documentation says."""

from collections import Counter
from functools import cache
from importlib import resources

import pytest

from pipelines.demo.conversations import DemoRecord, load_records
from pipelines.demo.malformed import malformed_records
from pipelines.demo.sources import SOURCES, may_be_shipped
from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.sentences import split_sentences
from protector_models.moderation.wire.codec import decode_event

pytestmark = pytest.mark.shipped

LICENCES = ("MIT", "Apache-2.0", "CC BY 4.0", "CC0")


@cache
def _records() -> list[DemoRecord]:
    return load_records()


@cache
def _events() -> list[ConversationEvent]:
    """Return the events that can be moderated without an MLLM."""
    broken = set(malformed_records())
    return [ConversationEvent.model_validate_json(record.value) for record in _records() if record.value not in broken]


def _exchanges() -> list[Exchange]:
    return [event.exchange(event.response) for event in _events() if event.response is not None]


def _rows_of_attribution() -> dict[str, list[str]]:
    text = resources.files("pipelines.demo").joinpath("ATTRIBUTION.md").read_text(encoding="utf-8")
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {row[0]: row for row in cells}


def test_there_are_at_least_two_thousand_conversations() -> None:
    assert len(_records()) >= 2_000
    assert len({event.conversation_id for event in _events()}) >= 2_000


def test_every_record_that_is_not_broken_on_purpose_is_an_event_with_a_response() -> None:
    assert len(_exchanges()) == len(_events()) == len(_records()) - len(list(malformed_records()))


def test_about_one_record_in_a_hundred_is_broken_each_kind_in_its_own_way() -> None:
    broken = list(malformed_records())
    assert len(set(broken)) == len(broken)
    assert 0.005 <= len(broken) / len(_records()) <= 0.02


@pytest.mark.parametrize("record", list(malformed_records()))
def test_a_broken_record_is_no_event_or_one_that_nobody_answered(record: bytes) -> None:
    try:
        event = decode_event(record, max_bytes=1_000_000)
    except InvalidEventError:
        return
    assert event.response is None


def test_every_event_has_an_id_of_its_own() -> None:
    assert len({event.event_id for event in _events()}) == len(_events())


def test_the_key_is_the_conversation() -> None:
    keys = {record.value: record.key for record in _records()}
    assert [keys[record.value] for record in _records()] == [record.key for record in _records()]
    assert [key for value, key in keys.items() if value == b"ping"] == [None]
    first = ConversationEvent.model_validate_json(_records()[0].value)
    assert _records()[0].key == first.conversation_id.encode()


def test_events_come_in_the_order_in_which_they_occurred() -> None:
    times = [event.occurred_at for event in _events()]
    assert times == sorted(times)


def test_a_conversation_goes_on_where_it_was() -> None:
    said: dict[str, int] = {}
    for event in _events():
        turns = sum(message.role == "user" for message in event.messages)
        assert turns == said.get(event.conversation_id, 0) + 1 or event.conversation_id not in said
        said[event.conversation_id] = turns
    assert sum(turns > 1 for turns in said.values()) >= 100


def test_most_conversations_are_harmless_and_some_are_asked_again() -> None:
    labels = Counter(event.metadata["recorded_label"] for event in _events())
    assert 0.10 <= labels["harmful"] / len(_records()) <= 0.20
    repeated = len(_exchanges()) - len(set(_exchanges()))
    assert 0.05 <= repeated / len(_records()) <= 0.12


def test_answers_are_short() -> None:
    for event in _events():
        limit = 600 if event.metadata["recorded_label"] == "harmful" else 1_500
        assert event.response is not None
        assert 0 < len(event.response) <= limit


def test_some_answers_are_harmful_in_part() -> None:
    mixed = [event.response or "" for event in _events() if "inserted_sentence" in event.metadata]
    assert len(set(mixed)) >= 40
    assert all(len(split_sentences(response)) >= 4 for response in mixed)


def test_some_conversations_show_a_picture() -> None:
    assert sum(bool(exchange.images) for exchange in _exchanges()) >= 10


def test_nothing_is_in_the_file_that_its_builder_leaves_out() -> None:
    for event in _events():
        row = {"prompt": event.exchange("").prompt, "response": event.response}
        assert may_be_shipped(row, "harmful" if event.metadata["recorded_label"] == "harmful" else "safe")


def test_every_source_is_attributed_with_a_licence_that_allows_this() -> None:
    attributed = _rows_of_attribution()
    inserted = {event.metadata["inserted_sentence"] for event in _events() if "inserted_sentence" in event.metadata}
    named = {str(name) for name in {event.metadata["source"] for event in _events()} | inserted} | {"FigStep"}
    assert named == {source.name for source in SOURCES} | {"FigStep"}
    for name in named:
        assert any(licence in attributed[name][1] for licence in LICENCES), name
