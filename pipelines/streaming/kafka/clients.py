"""The options of kafka-python's clients, made from our settings, and its errors, made into ours."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from kafka import KafkaConsumer, KafkaProducer  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka.cluster import collect_hosts  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka.errors import (  # type: ignore[import-untyped]  # kafka-python ships no type information
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    InvalidProducerEpochError,
    KafkaConfigurationError,
    KafkaConnectionError,
    KafkaError,
    ProducerFencedError,
    UnknownMemberIdError,
)
from kafka.net.compat import KafkaNetClient  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.broker import FencedError, Record, TopicPartition
from pipelines.streaming.kafka.headers import write_headers_without_values
from pipelines.streaming.kafka.unreadable_records import read_past_unreadable_records
from pipelines.streaming.settings import KafkaSettings, StreamSettings
from protector_models.moderation.errors import BrokerUnavailableError, ConfigurationError

T = TypeVar("T")
Options = dict[str, Any]
"""Keyword arguments of a kafka-python client."""

_BOOTSTRAP_TIMEOUT_S = 10.0
_LISTENER_RETRY_S = 0.2
_REQUEST_TIMEOUT_S = 30.0
_LINGER_MS = 5
"""A publish of many records fills batches anyway; this only spares a lone record a request of its own."""
_BATCH_BYTES = 131_072
_REQUEST_MARGIN_BYTES = 65_536
"""Room for keys, headers and framing beside the largest value."""

_FENCING = (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    InvalidProducerEpochError,
    ProducerFencedError,
    UnknownMemberIdError,
)


def address(kafka: KafkaSettings) -> str:
    """Return the brokers' addresses for a message."""
    return ",".join(kafka.bootstrap_servers)


def client_options(kafka: KafkaSettings, *, bootstrap_timeout_s: float = _BOOTSTRAP_TIMEOUT_S) -> Options:
    """Return what every client needs: where the brokers are and how to be let in."""
    return {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "security_protocol": kafka.security_protocol,
        "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
        "ssl_cafile": kafka.ssl_cafile,
        "ssl_certfile": kafka.ssl_certfile,
        "ssl_keyfile": kafka.ssl_keyfile,
        "ssl_password": kafka.ssl_password.get_secret_value() if kafka.ssl_password else None,
        "ssl_check_hostname": kafka.ssl_check_hostname,
        "api_version": kafka.api_version,
        "bootstrap_timeout_ms": _ms(bootstrap_timeout_s),
        # kafka-python waits up to 30 s before it tries a broker again; one that was restarted is back sooner.
        "reconnect_backoff_max_ms": 1_000,
    }


def producer_options(kafka: KafkaSettings, *, record_max_bytes: int, timeout_s: float) -> Options:
    """Return the options of an idempotent producer whose sends succeed or fail within about `timeout_s`."""
    return client_options(kafka, bootstrap_timeout_s=min(_BOOTSTRAP_TIMEOUT_S, timeout_s)) | {
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": "lz4",
        "linger_ms": _LINGER_MS,
        "batch_size": _BATCH_BYTES,
        "max_request_size": max(1_048_576, record_max_bytes + _REQUEST_MARGIN_BYTES),
        "max_block_ms": _ms(timeout_s),
        "delivery_timeout_ms": _ms(timeout_s),
        "request_timeout_ms": _ms(min(_REQUEST_TIMEOUT_S, timeout_s / 2)),
        "metrics_enabled": False,
    }


def transaction_options(kafka: KafkaSettings, stream: StreamSettings, *, member: str) -> Options:
    """Return the options of the one producer whose transactions carry this member's results."""
    timeout_s = stream.transaction_timeout_s
    return producer_options(kafka, record_max_bytes=stream.record_max_bytes, timeout_s=timeout_s) | {
        "transactional_id": member_id(stream, member),
        "transaction_timeout_ms": _ms(timeout_s),
    }


def consumer_options(kafka: KafkaSettings) -> Options:
    """Return the options of a consumer that sees only what was committed, and commits nothing by itself."""
    return client_options(kafka) | {
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "check_crcs": kafka.check_crcs,
        "request_timeout_ms": _ms(_REQUEST_TIMEOUT_S),
        "metrics_enabled": False,
        "allow_auto_create_topics": False,
    }


def member_options(kafka: KafkaSettings, stream: StreamSettings, *, member: str) -> Options:
    """Return the options of a consumer that is a static member of the group.

    A static member that was killed and comes back under its name has its partitions again at once, instead of after
    the session timeout.
    """
    return consumer_options(kafka) | {
        "group_id": stream.group,
        "group_instance_id": member_id(stream, member),
        # Also of a committed offset that the topic has no longer: what is left of it is read. See `first_offsets`.
        "auto_offset_reset": "earliest",
        "session_timeout_ms": _ms(stream.session_timeout_s),
        "heartbeat_interval_ms": _ms(min(3.0, stream.session_timeout_s / 3)),
        "max_poll_interval_ms": _ms(stream.max_poll_interval_s),
    }


def member_id(stream: StreamSettings, member: str) -> str:
    """Return the name by which the brokers know this member and its transactions."""
    return f"{stream.group}-{member}"


def build(make: Callable[..., T], options: Options) -> T:
    """Make a client; when it cannot reach a broker, close what it had opened so far.

    A client that fails in its constructor leaves its network thread and its sockets behind; one whose connections are
    refused leaks a socket with each. So nothing is made before a broker accepts connections.

    Raises:
        KafkaError: no broker answered, or an option is wrong.
    """
    _await_listener(options["bootstrap_servers"], timeout_s=options["bootstrap_timeout_ms"] / 1000)
    networks: list[Any] = []

    def network(**configs: object) -> object:
        networks.append(KafkaNetClient(**configs))
        return networks[-1]

    try:
        client = make(**options, kafka_client=network)
    except BaseException:
        for opened in networks:
            opened.close()
        raise
    if isinstance(client, KafkaConsumer):
        read_past_unreadable_records(client)
    elif isinstance(client, KafkaProducer):
        write_headers_without_values()
    return client


def close_producer(producer: Any, *, timeout_s: float) -> None:
    """Close a producer, waiting at most about `timeout_s` for what it still has to send. Never raises.

    kafka-python's own `close` gives up without closing when something cannot be sent in time.
    """
    try:
        producer.close(timeout=timeout_s)
    except KafkaError:
        sender = producer._sender
        sender.force_close()
        sender.join(timeout_s)
        with suppress(KafkaError):
            producer.close(timeout=0)


def to_records(batches: Mapping[Any, Sequence[Any]]) -> list[Record]:
    """Turn what a consumer's `poll` gave into our records."""
    records: list[Record] = []
    for partition, fetched in batches.items():
        source = TopicPartition(*partition)
        records += [
            Record(
                source=source,
                offset=record.offset,
                timestamp_ms=record.timestamp,
                key=record.key,
                value=record.value,
                headers=tuple((name, value) for name, value in record.headers) if record.headers else (),
            )
            for record in fetched
        ]
    return records


@contextmanager
def kafka_errors(kafka: KafkaSettings) -> Iterator[None]:
    """Raise kafka-python's errors as ours.

    Raises:
        ConfigurationError: an option that kafka-python does not take.
        FencedError: the partitions or the identity went to another member.
        BrokerUnavailableError: anything else that the brokers answer, or that they do not answer.
    """
    try:
        yield
    except KafkaConfigurationError as error:
        raise ConfigurationError(f"Kafka at {address(kafka)}: {error}") from error
    except _FENCING as error:
        raise FencedError(f"Kafka at {address(kafka)}: {error}") from error
    except KafkaError as error:
        raise BrokerUnavailableError(f"Kafka at {address(kafka)}: {error}") from error


def _await_listener(servers: Sequence[str], *, timeout_s: float) -> None:
    """Wait until one of the servers accepts connections."""
    deadline = time.monotonic() + timeout_s
    while True:
        for host, port, _ in collect_hosts(servers, randomize=False):
            try:
                socket.create_connection((host, port), timeout=timeout_s).close()
            except OSError as error:
                refusal = error
            else:
                return
        if time.monotonic() >= deadline:
            raise KafkaConnectionError(f"no broker accepts connections: {refusal}") from refusal
        time.sleep(min(_LISTENER_RETRY_S, timeout_s))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
