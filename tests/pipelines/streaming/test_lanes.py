"""Laws of the lanes: order, bounds, fairness, and what is given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.streaming.broker import OutgoingRecord, TopicPartition
from pipelines.streaming.lanes import Entry, Lanes
from pipelines.streaming.results import Result
from tests.pipelines.streaming.records import record

PARTITIONS = tuple(TopicPartition("in", number) for number in range(3))
HUGE = 10**9


def finish(*entries: Entry, size_bytes: int = 1) -> None:
    for entry in entries:
        value = b"x" * size_bytes
        entry.finish(Result(outgoing=(OutgoingRecord(topic="out", key=None, value=value),), is_dead_letter=False))


def filled(*counts: int) -> Lanes:
    lanes = Lanes()
    for number, count in enumerate(counts):
        lanes.add(record(offset, partition=number) for offset in range(count))
    return lanes


def places(entries: list[Entry]) -> list[tuple[int, int]]:
    return [(entry.record.source.partition, entry.record.offset) for entry in entries]


@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=4), taken=st.lists(st.integers(1, 20), max_size=8))
def test_what_waits_is_begun_in_order_and_each_partition_gets_its_share(counts: list[int], taken: list[int]) -> None:
    lanes = filled(*counts)
    waiting = dict(enumerate(counts))
    begun: dict[int, list[int]] = {number: [] for number in waiting}
    for number in taken:
        hungry = [partition for partition, left in waiting.items() if left]
        entries = lanes.begin(max_records=number, max_bytes=HUGE)
        assert len(entries) == min(number, sum(waiting.values()))
        for partition, offset in places(entries):
            begun[partition].append(offset)
            waiting[partition] -= 1
        shares = [sum(place[0] == partition for place in places(entries)) for partition in hungry if waiting[partition]]
        assert not shares or max(shares) - min(shares) <= 1
    assert begun == {partition: list(range(len(offsets))) for partition, offsets in begun.items()}


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=20), max_bytes=st.integers(1, 60))
def test_a_batch_has_no_more_bytes_than_the_bound_but_for_a_single_record(sizes: list[int], max_bytes: int) -> None:
    lanes = Lanes()
    lanes.add(record(offset, key=None, value=b"x" * size) for offset, size in enumerate(sizes))
    begun: list[int] = []
    while entries := lanes.begin(max_records=5, max_bytes=max_bytes):
        assert len(entries) == 1 or sum(entry.size_bytes for entry in entries) <= max_bytes
        begun += [entry.record.offset for entry in entries]
    assert begun == list(range(len(sizes)))


def test_only_what_is_finished_with_all_before_it_in_its_partition_leaves() -> None:
    lanes = filled(3, 2)
    entries = {place: entry for entry in lanes.begin(max_records=5, max_bytes=HUGE) for place in places([entry])}
    finish(entries[0, 1], entries[1, 0], entries[0, 2])
    assert places(lanes.finished(max_records=9, max_bytes=HUGE)) == [(1, 0)]
    finish(entries[0, 0])
    assert places(lanes.finished(max_records=9, max_bytes=HUGE)) == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert not lanes.is_finished()
    finish(entries[1, 1])
    assert lanes.is_finished()


@pytest.mark.parametrize(("max_records", "max_bytes", "number"), [(2, HUGE, 2), (9, 20, 2), (9, 29, 2), (9, 1, 1)])
def test_no_more_leaves_at_once_than_the_bounds_but_always_something(
    max_records: int, max_bytes: int, number: int
) -> None:
    lanes = filled(4)
    finish(*lanes.begin(max_records=4, max_bytes=HUGE), size_bytes=10)
    assert len(lanes.finished(max_records=max_records, max_bytes=max_bytes)) == number


def test_a_partition_with_much_does_not_keep_another_from_leaving() -> None:
    lanes = filled(10, 1)
    finish(*lanes.begin(max_records=11, max_bytes=HUGE))
    lanes.remove(lanes.finished(max_records=4, max_bytes=HUGE))
    assert (1, 0) in places(lanes.finished(max_records=4, max_bytes=HUGE))


def test_why_an_entry_has_no_result_comes_out_when_it_would_be_next() -> None:
    lanes = filled(2)
    first, second = lanes.begin(max_records=2, max_bytes=HUGE)
    second.error = ZeroDivisionError("scripted")
    assert lanes.finished(max_records=2, max_bytes=HUGE) == []
    finish(first)
    with pytest.raises(ZeroDivisionError):
        lanes.finished(max_records=2, max_bytes=HUGE)


operations = st.lists(
    st.tuples(st.sampled_from(["add", "begin", "finish", "remove", "lose", "lose_waiting"]), st.integers(0, 2)),
    max_size=40,
)


@given(operations)
def test_whatever_happens_each_record_leaves_once_in_order_or_is_given_up(script: list[tuple[str, int]]) -> None:
    lanes = Lanes()
    next_offset = dict.fromkeys(PARTITIONS, 0)
    left: dict[TopicPartition, list[int]] = {partition: [] for partition in PARTITIONS}
    working: list[Entry] = []
    given_up = 0
    for operation, number in script:
        source = PARTITIONS[number]
        if operation == "add":
            begin = next_offset[source]
            lanes.add(record(offset, partition=number) for offset in range(begin, begin + 3))
            next_offset[source] += 3
        elif operation == "begin":
            working += lanes.begin(max_records=number + 1, max_bytes=HUGE)
        elif operation == "finish" and working:
            finish(working.pop(number % len(working)))
        elif operation == "remove":
            entries = lanes.finished(max_records=number + 1, max_bytes=HUGE)
            lanes.remove(entries)
            for entry in entries:
                left[entry.record.source].append(entry.record.offset)
        elif operation in {"lose", "lose_waiting"}:
            lost = lanes.lose({source}) if operation == "lose" else lanes.lose_waiting({source})
            given_up += lost
            assert operation == "lose_waiting" or not lanes.holds({source})
    assert all(offsets == sorted(set(offsets)) for offsets in left.values())
    num_left = sum(map(len, left.values()))
    assert num_left + given_up + lanes.num_records == sum(next_offset.values())
    given_up += lanes.lose(PARTITIONS)
    assert (lanes.num_records, lanes.num_bytes) == (0, 0)
    assert lanes.begin(max_records=1, max_bytes=HUGE) == lanes.finished(max_records=1, max_bytes=HUGE) == []
    assert not any(entry.is_wanted for entry in working)
