"""One poll of the broker as the worker needs it: what was read, and at once what was lost."""

from dataclasses import dataclass

from pipelines.streaming.broker import BrokerConnection, FencedError, Record, TopicPartition
from protector_models.moderation.errors import BrokerUnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """What one call to the broker brought."""

    records: list[Record]
    lost: frozenset[TopicPartition]
    leaving: frozenset[TopicPartition]


class Poller:
    """Polls a connection. Makes its calls in the thread of its caller, which must be the one that makes all others."""

    def __init__(self, connection: BrokerConnection) -> None:
        self._connection = connection
        self._must_rewind = False

    def rewind(self) -> None:
        """Let the next poll begin at the committed offsets. Makes no call, and holds until one poll has come to it."""
        self._must_rewind = True

    def poll(self, *, room: int, timeout_s: float) -> Polled:
        """Poll for at most `room` records, and ask at once what was lost; with no room, only stay in the group.

        Raises:
            FencedError: see `BrokerConnection`; or the connection does not tell what was lost, so that nobody knows
                which records are still to be published: all must be dropped and read again.
            BrokerUnavailableError: nothing was read.
        """
        connection = self._connection
        if self._must_rewind:
            connection.rewind()
            self._must_rewind = False
        if room > 0:
            connection.resume()
        else:
            connection.pause()
        records = connection.poll(timeout_s=timeout_s, max_records=max(room, 1))
        try:
            return Polled(records=records, lost=connection.lost(), leaving=connection.leaving())
        except BrokerUnavailableError as error:
            raise FencedError(f"what was lost is not known: {error}") from error
