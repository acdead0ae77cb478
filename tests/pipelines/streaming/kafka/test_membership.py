"""When a member joins its group again."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from kafka.errors import RebalanceInProgressError  # type: ignore[import-untyped]  # no type information
from kafka.future import Future  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.kafka.membership import Membership, govern_joining


@dataclass
class Coordinator:
    """What of kafka-python's coordinator decides whether a join is begun."""

    _join_task: Future | None = None
    rejoining: bool = True

    def need_rejoin(self) -> bool:
        return True

    def stable(self) -> bool:
        return False

    def begins_another_join(self) -> bool:
        """Look at it as kafka-python does, once it needs to join."""
        assert self.need_rejoin()
        return self._join_task is None or self._join_task.is_done


@dataclass
class Waiting:
    """Hears how a join ended, as a `poll` that waits for it does."""

    assignments: list[bytes] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    def hear(self, join: Future) -> None:
        join.add_callback(self.assignments.append)
        join.add_errback(self.errors.append)


@pytest.fixture
def coordinator() -> Coordinator:
    governed = Coordinator()
    membership = Membership(drain_timeout_s=1.0, on_assigned=lambda _: None)
    govern_joining(SimpleNamespace(_coordinator=governed), membership)
    return governed


def test_a_join_that_was_answered_between_two_polls_is_taken_over_by_the_next_one(coordinator: Coordinator) -> None:
    coordinator._join_task = Future().success(b"assignment")
    assert not coordinator.begins_another_join()
    waiting = Waiting()
    waiting.hear(coordinator._join_task)
    assert (waiting.assignments, waiting.errors) == ([b"assignment"], [])


def test_a_join_that_failed_between_two_polls_is_begun_again(coordinator: Coordinator) -> None:
    coordinator._join_task = Future().failure(RebalanceInProgressError())
    assert coordinator.begins_another_join()


def test_a_join_that_is_not_answered_yet_is_waited_for(coordinator: Coordinator) -> None:
    coordinator._join_task = Future()
    assert not coordinator.begins_another_join()
    waiting = Waiting()
    waiting.hear(coordinator._join_task)
    coordinator._join_task.success(b"assignment")
    assert waiting.assignments == [b"assignment"]
