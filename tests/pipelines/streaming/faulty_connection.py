"""A connection to a broker of which one call breaks."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pipelines.streaming.broker import BrokerConnection, OutgoingRecord, Record, TopicPartition

T = TypeVar("T")

VERBS = ("poll", "pause", "resume", "leaving", "let_go", "lost", "publish", "rewind", "lag", "close")
"""All that a `BrokerConnection` does."""


class FaultyConnection:
    """Passes all calls on, but for the n-th one of a verb, which raises. Implements `BrokerConnection`."""

    def __init__(
        self, connection: BrokerConnection, verb: str, *, call: int, error: Exception, after_effect: bool = False
    ) -> None:
        """Prepare the fault.

        Args:
            connection: what does the work.
            verb: which method fails.
            call: which of its calls: 1 is the first.
            error: what is raised.
            after_effect: whether the call is passed on before it fails.
        """
        self._connection = connection
        self._verb = verb
        self._remaining = call
        self._error = error
        self._after_effect = after_effect
        self.has_failed = False

    def poll(self, *, timeout_s: float, max_records: int) -> list[Record]:
        return self._call("poll", lambda: self._connection.poll(timeout_s=timeout_s, max_records=max_records))

    def pause(self) -> None:
        self._call("pause", self._connection.pause)

    def resume(self) -> None:
        self._call("resume", self._connection.resume)

    def leaving(self) -> frozenset[TopicPartition]:
        return self._call("leaving", self._connection.leaving)

    def let_go(self) -> None:
        self._call("let_go", self._connection.let_go)

    def lost(self) -> frozenset[TopicPartition]:
        return self._call("lost", self._connection.lost)

    def publish(self, records: Sequence[OutgoingRecord], next_offsets: Mapping[TopicPartition, int]) -> None:
        self._call("publish", lambda: self._connection.publish(records, next_offsets))

    def rewind(self) -> None:
        self._call("rewind", self._connection.rewind)

    def lag(self) -> dict[TopicPartition, int]:
        return self._call("lag", self._connection.lag)

    def close(self, *, timeout_s: float) -> None:
        self._call("close", lambda: self._connection.close(timeout_s=timeout_s))

    def _call(self, verb: str, pass_on: Callable[[], T]) -> T:
        if verb != self._verb:
            return pass_on()
        self._remaining -= 1
        if self._remaining != 0:
            return pass_on()
        self.has_failed = True
        if self._after_effect:
            pass_on()
        raise self._error
