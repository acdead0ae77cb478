"""A Kafka-protocol broker inside this process, for demonstrations: the mock cluster that comes with librdkafka.

It keeps everything in memory and is gone with the process. Not for production: a broker that is only pretended can lose
what it was given, and does not do all that Apache Kafka does; the contract tests name what it lacks.
"""

from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException, Producer

from pipelines.streaming.settings import KafkaSettings
from protector_models.moderation.errors import BrokerUnavailableError

_TIMEOUT_S = 30.0


class EmbeddedBroker:
    """Runs as long as its context. Topics have `PARTITIONS` partitions; it offers no way to ask for another number."""

    PARTITIONS = 4

    def __init__(self) -> None:
        self._client: Producer | None = None
        self._bootstrap_servers: tuple[str, ...] = ()

    @property
    def bootstrap_servers(self) -> tuple[str, ...]:
        """HOST:PORT of the broker, on the loopback address."""
        return self._bootstrap_servers

    @property
    def settings(self) -> KafkaSettings:
        """How to reach it: without version negotiation, whose answer cannot be read, and without checksums."""
        return KafkaSettings(bootstrap_servers=self._bootstrap_servers, api_version=(2, 0), check_crcs=False)

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            BrokerUnavailableError: it did not start.
        """
        # The mock cluster lives in the client that asked for it.
        self._client = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        try:
            brokers = self._client.list_topics(timeout=_TIMEOUT_S).brokers.values()
        except KafkaException as error:
            raise BrokerUnavailableError(f"the embedded broker did not start: {error}") from error
        self._bootstrap_servers = tuple(f"{broker.host}:{broker.port}" for broker in brokers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def create_topics(self, *names: str) -> None:
        """Create topics; those that exist stay as they are.

        Raises:
            BrokerUnavailableError: it does not answer.
        """
        if self._client is None:
            raise RuntimeError("the context of this EmbeddedBroker is not entered")
        try:
            for name in names:
                # It creates a topic when somebody asks about it.
                self._client.list_topics(name, timeout=_TIMEOUT_S)
        except KafkaException as error:
            raise BrokerUnavailableError(f"the embedded broker does not answer: {error}") from error
