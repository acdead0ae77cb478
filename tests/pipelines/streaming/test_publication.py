"""What one transaction holds."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.streaming.broker import TopicPartition
from pipelines.streaming.publication import next_offsets
from tests.pipelines.streaming.records import record


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=20))
def test_the_next_offset_of_a_partition_is_the_one_after_its_last_record(places: list[tuple[int, int]]) -> None:
    offsets = next_offsets([record(offset, partition=partition) for partition, offset in places])
    expected: dict[TopicPartition, int] = {}
    for partition, offset in places:
        source = TopicPartition("in", partition)
        expected[source] = max(expected.get(source, 0), offset + 1)
    assert offsets == expected
