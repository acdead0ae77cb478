"""Dead letters: what they keep, what they say, how they go back, and when there are too many."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.streaming.broker import UNREADABLE_HEADER, Headers, OutgoingRecord, Record, TopicPartition
from pipelines.streaming.dead_letter import (
    RECORD_OVERHEAD_BYTES,
    RunawayDeadLettersError,
    RunawayLimit,
    attempt_of,
    dead_letter,
    facts_of,
    original_headers,
    replayed,
)
from protector_models.moderation.verdict import Failure, Stage
from tests.pipelines.streaming.records import as_read, record

LIMIT = 10_000
FAILURE = Failure(stage=Stage.ASSESS, error="Poison", message="expected something else")

HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["trace", "weir-attempt", "weir-stage", "weir-value-omitted-bytes"]), st.binary(max_size=9)
    ),
    max_size=4,
).map(tuple)


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


def test_a_record_without_key_and_value_keeps_having_none() -> None:
    letter = letter_for(record(key=None, value=None))
    assert (letter.key, letter.value) == (None, None)
    assert "value-omitted-bytes" not in facts_of(letter.headers)


@given(
    key=st.none() | st.binary(max_size=30),
    value=st.none() | st.binary(max_size=30),
    headers=HEADERS,
    failures=st.integers(1, 5),
)
def test_a_letter_that_goes_back_and_fails_again_is_the_same_with_a_higher_attempt(
    key: bytes | None, value: bytes | None, headers: Headers, failures: int
) -> None:
    failed = record(key=key, value=value, headers=headers)
    before = attempt_of(headers)
    for _ in range(failures):
        letter = as_read(letter_for(failed), offset=99)
        back = replayed(letter)
        assert (back.topic, back.key, back.value) == ("in", key, value)
        assert original_headers(back.headers) == original_headers(headers)
        failed = as_read(back)
    assert attempt_of(letter.headers) == before + failures
    assert len(letter.headers) == len(original_headers(headers)) + 10


@pytest.mark.parametrize("value", [b"", b"x", b"-1", b"1.5", b"\xff", b" 3", b"9" * 30])
def test_an_attempt_that_is_nonsense_counts_as_none(value: bytes) -> None:
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


def test_a_letter_fits_with_a_long_key_and_a_long_message_too() -> None:
    failure = Failure(stage=Stage.DECODE, error="InvalidEvent", message="é" * 1_000_000)
    letter = letter_for(record(key=b"k" * 1_000_000, value=b"v"), failure)
    assert letter.size_bytes() + RECORD_OVERHEAD_BYTES <= LIMIT
    assert letter.value is None


def test_a_value_that_does_not_fit_is_left_out_and_its_size_is_told() -> None:
    letter = letter_for(record(value=b"v" * LIMIT))
    assert letter.value is None
    assert facts_of(letter.headers)["value-omitted-bytes"] == str(LIMIT)
    assert facts_of(letter.headers)["original-offset"] == "0"


def test_a_letter_whose_value_was_left_out_cannot_go_back() -> None:
    with pytest.raises(ValueError, match=f"its value of {LIMIT} bytes"):
        replayed(as_read(letter_for(record(value=b"v" * LIMIT))))


def test_a_record_that_is_no_letter_cannot_go_back() -> None:
    with pytest.raises(ValueError, match="expected a dead letter of Weir"):
        replayed(record())


def test_text_that_has_no_utf8_form_does_not_stop_a_letter() -> None:
    letter = letter_for(record(), Failure(stage=Stage.DECODE, error="InvalidEvent", message="bad \ud800"))
    assert facts_of(letter.headers)["message"] == "bad ?"


def trips_at(limit: RunawayLimit, groups: Sequence[tuple[int, int]]) -> int | None:
    """Publish groups of (records, dead letters); return the position of the one that is refused."""
    for position, (records, dead) in enumerate(groups):
        try:
            limit.check(num_records=records, num_dead_letters=dead)
        except RunawayDeadLettersError:
            return position
        limit.observe(num_records=records, num_dead_letters=dead)
    return None


def test_the_limit_waits_for_a_full_window() -> None:
    assert trips_at(RunawayLimit(window=10, share=0.5), [(1, 1)] * 20) == 9


def test_the_limit_trips_above_the_share_and_not_at_it() -> None:
    assert trips_at(RunawayLimit(window=10, share=0.5), [(10, 5)] * 20) is None
    assert trips_at(RunawayLimit(window=10, share=0.5), [(10, 6)]) == 0


def test_what_was_long_ago_does_not_count() -> None:
    assert trips_at(RunawayLimit(window=10, share=0.5), [(1_000, 0), (6, 6), (4, 4)]) is None
    assert trips_at(RunawayLimit(window=10, share=0.5), [(1_000, 0), (10, 0), (6, 6), (5, 5)]) == 3


def test_without_a_share_the_limit_never_trips() -> None:
    assert trips_at(RunawayLimit(window=1, share=None), [(10, 10)] * 100) is None


def test_the_refusal_says_how_many_and_which_setting() -> None:
    with pytest.raises(RunawayDeadLettersError, match=r"9 of the last 10 .* 50% \(stream.dead_letters.runaway_share\)"):
        RunawayLimit(window=10, share=0.5).check(num_records=10, num_dead_letters=9)


@given(
    groups=st.lists(
        st.tuples(st.integers(1, 8), st.integers(0, 8)).map(lambda pair: (pair[0], min(pair))), max_size=40
    ),
    window=st.integers(1, 20),
)
def test_the_limit_looks_at_a_group_and_the_fewest_groups_before_it_that_fill_the_window(
    groups: list[tuple[int, int]], window: int
) -> None:
    def is_too_much(position: int) -> bool:
        before = list(groups[:position])
        while sum(records for records, _ in before[1:]) >= window:
            del before[0]
        seen = [*before, groups[position]]
        records, dead = sum(group[0] for group in seen), sum(group[1] for group in seen)
        return records >= window and dead > records / 2

    expected = next((position for position in range(len(groups)) if is_too_much(position)), None)
    assert trips_at(RunawayLimit(window=window, share=0.5), groups) == expected


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
