"""What a stream is told of its topics before it starts."""

from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from pipelines.streaming.kafka.embedded_broker import EmbeddedBroker
from pipelines.streaming.kafka.topic_limits import check_topics
from pipelines.streaming.settings import DeadLetterSettings, KafkaSettings, StreamSettings
from protector_models.moderation.errors import BrokerUnavailableError, ConfigurationError
from tests.pipelines.streaming.brokers import KafkaBench, review_topic

NOBODY = KafkaSettings(bootstrap_servers=("127.0.0.1:1",))


@pytest.fixture
def bench(apache_kafka: KafkaSettings) -> Iterator[KafkaBench]:
    made = KafkaBench(apache_kafka)
    yield made
    made.connections.close()


def with_dead_letters_in(stream: StreamSettings, topic: str) -> StreamSettings:
    """Return settings whose dead letters go to a topic that the bench has made."""
    return stream.model_copy(update={"dead_letters": DeadLetterSettings(topic=topic), "action_topics": {}})


@pytest.mark.kafka
def test_topics_that_take_enough_and_topics_that_are_not_there_are_not_spoken_of(bench: KafkaBench) -> None:
    with capture_logs() as logs:
        check_topics(bench.kafka, bench.stream)
    assert logs == []


@pytest.mark.kafka
def test_a_topic_of_results_that_takes_less_is_warned_of(bench: KafkaBench) -> None:
    bench.limit(bench.stream.sink_topic, 500_000)
    with capture_logs() as logs:
        check_topics(bench.kafka, bench.stream)
    (line,) = logs
    assert line["log_level"] == "warning"
    assert (line["topic"], line["max_message_bytes"]) == (bench.stream.sink_topic, 500_000)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda bench, topic: bench.limit(topic, 500_000), "at most 500000 bytes"),
        (lambda bench, topic: bench.configure(topic, "cleanup.policy", "compact"), "is compacted"),
    ],
)
def test_a_topic_that_would_refuse_or_lose_dead_letters_is_refused(
    bench: KafkaBench, spoil: Callable[[KafkaBench, str], None], message: str
) -> None:
    topic = review_topic(bench.stream)
    stream = with_dead_letters_in(bench.stream, topic)
    spoil(bench, topic)
    with pytest.raises(ConfigurationError, match=message):
        check_topics(bench.kafka, stream)


@pytest.mark.kafka
def test_a_broker_that_does_not_tell_is_taken_as_it_is() -> None:
    with EmbeddedBroker() as broker:
        check_topics(broker.settings, StreamSettings())


def test_a_broker_that_is_away_is_an_error() -> None:
    with pytest.raises(BrokerUnavailableError):
        check_topics(NOBODY, StreamSettings())
