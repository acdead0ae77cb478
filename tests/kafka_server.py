"""A real Apache Kafka for the tests that are marked `kafka`."""

import os
from collections.abc import Iterator

import pytest

from pipelines.streaming.settings import KafkaSettings


def pytest_configure(config: pytest.Config) -> None:
    """Let kafka-python be imported: it reads its own schema files in a deprecated way."""
    config.addinivalue_line("filterwarnings", "ignore:(read|open)_text is deprecated:DeprecationWarning")


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[KafkaSettings]:
    """A broker that all tests share: the one that WEIR_TEST_KAFKA names, else one that is started.

    Where neither is possible the test fails, with a message that says how to get one.
    """
    from pipelines.streaming.kafka.apache_kafka import ApacheKafka  # noqa: PLC0415 - not before pytest_configure

    named = os.environ.get("WEIR_TEST_KAFKA")
    if named:
        yield KafkaSettings(bootstrap_servers=tuple(named.split(",")))
        return
    with ApacheKafka() as broker:
        yield broker.settings
