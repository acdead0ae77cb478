"""What a transactional publisher makes of a commit in doubt."""

import pytest

from pipelines.streaming.broker import FencedError, TopicPartition
from pipelines.streaming.kafka.publishers import TransactionalPublisher

A, B, C = (TopicPartition("source", number) for number in range(3))


class DoubtfulPublisher(TransactionalPublisher):
    """Has asked for a commit and never heard of it."""

    def __init__(self, in_doubt: dict[TopicPartition, int], committed: dict[TopicPartition, int]) -> None:
        super().__init__(options={}, group_metadata=lambda: None, committed=committed.get, timeout_s=1.0)
        self._in_doubt = in_doubt

    def was_committed(self, next_offsets: dict[TopicPartition, int]) -> bool:
        return self._was_committed(next_offsets)


@pytest.mark.parametrize("committed_elsewhere", [10, 15])
def test_a_partition_that_moved_on_elsewhere_does_not_hide_that_the_commit_was_carried_out(
    committed_elsewhere: int,
) -> None:
    publisher = DoubtfulPublisher({A: 10, B: 20}, {A: committed_elsewhere, B: 20})
    assert publisher.was_committed({B: 20})


@pytest.mark.parametrize("committed", [{A: 15, B: 19}, {A: 15}])
def test_a_partition_that_moved_on_elsewhere_does_not_pretend_that_it_was(committed: dict[TopicPartition, int]) -> None:
    assert not DoubtfulPublisher({A: 10, B: 20}, committed).was_committed({B: 20})
    assert not DoubtfulPublisher({A: 10, B: 20}, committed).was_committed({B: 25, C: 1})


@pytest.mark.parametrize("next_offsets", [{B: 25}, {B: 20, C: 1}, {A: 18, B: 20}])
def test_another_publish_than_the_one_that_was_carried_out_is_refused(next_offsets: dict[TopicPartition, int]) -> None:
    with pytest.raises(FencedError, match="after all"):
        DoubtfulPublisher({A: 10, B: 20}, {A: 15, B: 20}).was_committed(next_offsets)


@pytest.mark.parametrize("committed", [{A: 5}, {A: 10}, {A: 15}])
def test_a_publish_that_cannot_tell_what_became_of_the_commit_is_refused(committed: dict[TopicPartition, int]) -> None:
    with pytest.raises(FencedError, match="may have been"):
        DoubtfulPublisher({A: 10}, committed).was_committed({B: 20})
