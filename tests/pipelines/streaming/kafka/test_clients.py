"""The options that reach kafka-python, and what becomes of its errors."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer  # type: ignore[import-untyped]  # no type information
from kafka.errors import (  # type: ignore[import-untyped]  # kafka-python ships no type information
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    NotCoordinatorError,
    ProducerFencedError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from pydantic import SecretStr

from pipelines.streaming.broker import FencedError, TopicPartition
from pipelines.streaming.kafka.clients import (
    build,
    client_options,
    consumer_options,
    kafka_errors,
    member_options,
    producer_options,
    to_records,
    transaction_options,
)
from pipelines.streaming.settings import KafkaSettings, StreamSettings
from protector_models.moderation.errors import BrokerUnavailableError, ConfigurationError

SECURE = KafkaSettings(
    bootstrap_servers=("one.example:9093", "two.example:9093"),
    security_protocol="SASL_SSL",
    sasl_mechanism="SCRAM-SHA-512",
    sasl_username="weir",
    sasl_password=SecretStr("a secret"),
    ssl_cafile="/etc/weir/ca.pem",
    ssl_certfile="/etc/weir/client.pem",
    ssl_keyfile="/etc/weir/client.key",
    ssl_password=SecretStr("another secret"),
    ssl_check_hostname=False,
)
STREAM = StreamSettings(group="moderators", session_timeout_s=30, transaction_timeout_s=40, max_poll_interval_s=120)


@pytest.mark.parametrize(
    ("options", "client"),
    [
        (client_options(SECURE), KafkaAdminClient),
        (consumer_options(SECURE), KafkaConsumer),
        (member_options(SECURE, STREAM, member="0"), KafkaConsumer),
        (producer_options(SECURE, record_max_bytes=1_000, timeout_s=10), KafkaProducer),
        (transaction_options(SECURE, STREAM, member="0"), KafkaProducer),
    ],
)
def test_every_client_is_told_how_to_be_let_in_and_knows_all_its_options(options: dict[str, Any], client: Any) -> None:
    assert options.keys() <= client.DEFAULT_CONFIG.keys()
    expected = {
        "bootstrap_servers": ["one.example:9093", "two.example:9093"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "weir",
        "sasl_plain_password": "a secret",
        "ssl_cafile": "/etc/weir/ca.pem",
        "ssl_certfile": "/etc/weir/client.pem",
        "ssl_keyfile": "/etc/weir/client.key",
        "ssl_password": "another secret",
        "ssl_check_hostname": False,
    }
    assert {name: options[name] for name in expected} == expected


def test_a_member_is_static_commits_nothing_itself_and_reads_what_is_committed() -> None:
    options = member_options(SECURE, STREAM, member="3")
    assert options["group_id"] == "moderators"
    assert options["group_instance_id"] == "moderators-3"
    assert options["enable_auto_commit"] is False
    assert options["isolation_level"] == "read_committed"
    assert options["session_timeout_ms"] == 30_000
    assert options["max_poll_interval_ms"] == 120_000
    assert options["heartbeat_interval_ms"] * 3 <= options["session_timeout_ms"]


def test_transactions_carry_the_members_name_and_their_timeout() -> None:
    options = transaction_options(SECURE, STREAM, member="3")
    assert options["transactional_id"] == "moderators-3"
    assert options["transaction_timeout_ms"] == 40_000
    assert options["delivery_timeout_ms"] > options["request_timeout_ms"] + options["linger_ms"]


def test_the_largest_record_fits_into_a_request() -> None:
    assert producer_options(SECURE, record_max_bytes=5_000_000, timeout_s=10)["max_request_size"] > 5_000_000


@pytest.mark.parametrize(
    "error",
    [CommitFailedError, FencedInstanceIdError, IllegalGenerationError, ProducerFencedError, UnknownMemberIdError],
)
def test_errors_of_a_lost_identity_are_fencing(error: type[KafkaError]) -> None:
    with pytest.raises(FencedError, match=r"one\.example:9093,two\.example:9093"), kafka_errors(SECURE):
        raise error


@pytest.mark.parametrize("error", [KafkaTimeoutError, NotCoordinatorError, RebalanceInProgressError, KafkaError])
def test_other_errors_are_an_unavailable_broker(error: type[KafkaError]) -> None:
    with pytest.raises(BrokerUnavailableError, match=r"one\.example:9093") as raised, kafka_errors(SECURE):
        raise error
    assert not isinstance(raised.value, FencedError)


def test_an_option_that_cannot_be_is_an_error_of_configuration() -> None:
    with pytest.raises(ConfigurationError), kafka_errors(SECURE):
        raise KafkaConfigurationError


def test_nothing_is_built_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    kafka = KafkaSettings(bootstrap_servers=(f"127.0.0.1:{port}",))
    with pytest.raises(BrokerUnavailableError, match=f"127.0.0.1:{port}.*refused"), kafka_errors(kafka):
        build(KafkaConsumer, client_options(kafka, bootstrap_timeout_s=0.5))


def test_a_client_that_nobody_answers_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        kafka = KafkaSettings(bootstrap_servers=(f"127.0.0.1:{server.getsockname()[1]}",))
        with pytest.raises(BrokerUnavailableError), kafka_errors(kafka):
            build(KafkaConsumer, client_options(kafka, bootstrap_timeout_s=0.5))


def test_headers_are_read_as_they_are_with_and_without_values() -> None:
    headers = [("empty", b""), ("null", None), ("text", b"x")]
    fetched = SimpleNamespace(offset=3, timestamp=1, key=None, value=b"v", headers=headers)
    (record,) = to_records({TopicPartition("in", 0): [fetched]})
    assert record.headers == tuple(headers)
