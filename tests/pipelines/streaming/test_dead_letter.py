"""Dead letters: what they keep, what they say, and how they go back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.streaming.broker import UNREADABLE_HEADER, Headers, OutgoingRecord, Record, TopicPartition
from pipelines.streaming.dead_letter import (
    LEAST_RECORD_BYTES,
    RECORD_OVERHEAD_BYTES,
    attempt_of,
    dead_letter,
    facts_of,
    failure_of,
    original_headers,
    replayed,
)
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Failure
from tests.pipelines.streaming.records import as_read, record

LIMIT = 10_000
FAILURE = Failure(stage=Stage.ASSESS, error="Poison", message="expected something else")

HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["trace", "weir-attempt", "weir-stage", "weir-value-omitted-bytes"]),
        st.none() | st.binary(max_size=9),
    ),
    max_size=4,
).map(tuple)


def any_is_there(pair: tuple[bytes | None, bytes | None]) -> bool:
    return pair != (None, None)


def letter_for(failed: Record, failure: Failure = FAILURE, *, record_max_bytes: int = LIMIT) -> OutgoingRecord:
    return dead_letter(
        failed,
        failure,
        topic="dead",
        group="g",
        versions={"weir": "1", "policy": "p"},
        record_max_bytes=record_max_bytes,
    )


def test_a_letter_keeps_the_record_and_says_where_it_came_from_and_why() -> None:
    letter = letter_for(record(7, partition=2, headers=(("trace", b"\xff"),)))
    assert (letter.topic, letter.key, letter.value) == ("dead", b"key", b"value")
    assert letter.headers[0] == ("trace", b"\xff")
    assert facts_of(letter.headers) == {
        "original-topic": "in",
        "original-partition": "2",
        "original-offset": "7",
        "original-timestamp": "1700000000000",
        "group": "g",
        "stage": "assess",
        "error": "Poison",
        "message": "expected something else",
        "attempt": "1",
        "versions": "policy=p weir=1",
    }


def test_a_tombstone_keeps_having_no_value() -> None:
    letter = letter_for(record(value=None))
    assert (letter.key, letter.value) == (b"key", None)
    assert facts_of(letter.headers).keys().isdisjoint({"value-null", "value-omitted-bytes"})


def test_a_record_without_key_and_value_has_an_empty_value_and_a_header_that_says_so() -> None:
    letter = letter_for(record(key=None, value=None))
    assert (letter.key, letter.value) == (None, b"")
    assert facts_of(letter.headers)["value-null"] == "1"
    with pytest.raises(ValueError, match="neither key nor value"):
        replayed(as_read(letter))


@given(
    key=st.none() | st.binary(max_size=12_000),
    value=st.none() | st.binary(max_size=12_000),
    headers=HEADERS,
    message=st.text(max_size=2_000),
)
def test_every_letter_can_be_published(key: bytes | None, value: bytes | None, headers: Headers, message: str) -> None:
    failure = Failure(stage=Stage.DECODE, error="InvalidEvent", message=message)
    letter = letter_for(record(key=key, value=value, headers=headers), failure, record_max_bytes=LEAST_RECORD_BYTES)
    assert not (letter.key is None and letter.value is None)
    assert letter.size_bytes() + RECORD_OVERHEAD_BYTES <= LEAST_RECORD_BYTES
    assert failure_of(letter).stage is Stage.DECODE


@given(
    pair=st.tuples(st.none() | st.binary(max_size=30), st.none() | st.binary(max_size=30)).filter(any_is_there),
    headers=HEADERS,
    failures=st.integers(1, 5),
)
def test_a_letter_that_goes_back_and_fails_again_is_the_same_with_a_higher_attempt(
    pair: tuple[bytes | None, bytes | None], headers: Headers, failures: int
) -> None:
    key, value = pair
    failed = record(key=key, value=value, headers=headers, partition=3)
    before = attempt_of(headers)
    for _ in range(failures):
        letter = as_read(letter_for(failed), offset=99)
        back = replayed(letter)
        assert (back.topic, back.partition, back.key, back.value) == ("in", 3, key, value)
        assert original_headers(back.headers) == original_headers(headers)
        failed = as_read(back, partition=3)
    assert attempt_of(letter.headers) == before + failures
    assert len(letter.headers) == len(original_headers(headers)) + 10


@pytest.mark.parametrize("partition", [b"", b"-1", b"x", b"\xc2\xb2", b"9" * 30])
def test_a_letter_whose_partition_is_nonsense_goes_where_its_key_belongs(partition: bytes) -> None:
    letter = letter_for(record())
    headers = tuple((name, partition if name == "weir-original-partition" else text) for name, text in letter.headers)
    assert replayed(record(headers=headers)).partition is None


@pytest.mark.parametrize("value", [b"", b"x", b"-1", b"1.5", b"\xff", b" 3", b"9" * 30, None])
def test_an_attempt_that_is_nonsense_counts_as_none(value: bytes | None) -> None:
    assert attempt_of((("weir-attempt", value),)) == 0
    assert facts_of(letter_for(record(headers=(("weir-attempt", value),))).headers)["attempt"] == "1"


@given(size=st.integers(LIMIT - 2_000, LIMIT + 2_000), share=st.floats(0, 1))
def test_a_letter_always_fits_into_the_broker(size: int, share: float) -> None:
    header_bytes = round(size * share)
    failed = record(value=b"v" * (size - header_bytes), headers=(("trace", b"h" * header_bytes),))
    letter = letter_for(failed)
    assert letter.size_bytes() + RECORD_OVERHEAD_BYTES <= LIMIT
    facts = facts_of(letter.headers)
    assert (letter.value == failed.value) is ("value-omitted-bytes" not in facts)
    assert (letter.headers[0] == failed.headers[0]) is ("headers-omitted-bytes" not in facts)


def test_a_letter_fits_with_a_long_key_and_a_long_message_too() -> None:
    failure = Failure(stage=Stage.DECODE, error="InvalidEvent", message="é" * 1_000_000)
    letter = letter_for(record(key=b"k" * 1_000_000, value=b"v"), failure)
    assert letter.size_bytes() + RECORD_OVERHEAD_BYTES <= LIMIT
    assert letter.value is None
    assert len(letter.key or b"") == 1_000_000 - int(facts_of(letter.headers)["key-omitted-bytes"]) > 0


def test_a_letter_without_its_value_keeps_its_key_and_its_own_headers_as_far_as_they_fit() -> None:
    headers = (("trace", b"a"), ("large", b"b" * LIMIT), ("trace", None), ("span", b"c"))
    letter = letter_for(record(key=b"k" * 600, value=b"v" * LIMIT, headers=headers[:1]))
    assert (letter.key, letter.headers[0]) == (b"k" * 600, ("trace", b"a"))
    letter = letter_for(record(key=b"k" * 600, value=b"v", headers=headers))
    assert letter.key == b"k" * 600
    assert original_headers(letter.headers) == (headers[0], *headers[2:])
    assert facts_of(letter.headers)["headers-omitted-bytes"] == str(LIMIT + len("large"))
    with pytest.raises(ValueError, match="replay the original"):
        replayed(as_read(letter))


def test_a_value_that_does_not_fit_is_left_out_and_its_size_is_told() -> None:
    letter = letter_for(record(value=b"v" * LIMIT))
    assert letter.value is None
    assert facts_of(letter.headers)["value-omitted-bytes"] == str(LIMIT)
    assert facts_of(letter.headers)["original-offset"] == "0"


def test_a_letter_whose_value_was_left_out_cannot_go_back() -> None:
    with pytest.raises(ValueError, match=f"{LIMIT} bytes of its value"):
        replayed(as_read(letter_for(record(value=b"v" * LIMIT))))


def test_a_record_that_is_no_letter_cannot_go_back() -> None:
    with pytest.raises(ValueError, match="expected a dead letter of Weir"):
        replayed(record())


def test_text_that_has_no_utf8_form_does_not_stop_a_letter() -> None:
    letter = letter_for(record(), Failure(stage=Stage.DECODE, error="InvalidEvent", message="bad \ud800"))
    assert facts_of(letter.headers)["message"] == "bad ?"


def test_a_letter_that_stands_for_a_record_nobody_could_read_is_not_replayed() -> None:
    unreadable = Record(
        source=TopicPartition("in", 0),
        offset=3,
        timestamp_ms=0,
        key=None,
        value=None,
        headers=((UNREADABLE_HEADER, b"header name"),),
    )
    failure = Failure(stage=Stage.DECODE, error="InvalidEvent", message="the record has no value")
    letter = dead_letter(unreadable, failure, topic="dead", group="g", versions={}, record_max_bytes=10_000)
    read = Record(
        source=TopicPartition("dead", 0),
        offset=0,
        timestamp_ms=0,
        key=letter.key,
        value=letter.value,
        headers=letter.headers,
    )
    with pytest.raises(ValueError, match="could not be read"):
        replayed(read)
