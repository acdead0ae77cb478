"""A worker with a slow model, on a real Kafka: what it is shown comes out, with and without a trickle before it."""

from uuid import uuid4

import pytest

from pipelines.bench.slow_model import BurstBenchmark, burst_per_s
from pipelines.bench.stream_events import BenchmarkError, distinct_conversations
from pipelines.streaming.kafka.broker_administration import ensure_topics
from pipelines.streaming.settings import DeadLetterSettings, KafkaSettings, StreamSettings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def _benchmark(kafka: KafkaSettings, *, trickle_s: float, timeout_s: float = 250.0) -> BurstBenchmark:
    name = f"slow-{uuid4().hex[:8]}"
    names = {"source_topic": f"{name}.in", "sink_topic": f"{name}.out"}
    ensure_topics(kafka, dict.fromkeys(names.values(), 2) | {f"{name}.dead": 1})
    return BurstBenchmark(
        kafka=kafka,
        stream=StreamSettings(**names, group=name, dead_letters=DeadLetterSettings(topic=f"{name}.dead")),
        conversations=distinct_conversations(50),
        burst_records=300,
        trickle_s=trickle_s,
        timeout_s=timeout_s,
    )


@pytest.mark.parametrize("trickle_s", [0.0, 1.0])
async def test_the_speed_of_a_burst_is_measured(apache_kafka: KafkaSettings, trickle_s: float) -> None:
    assert await burst_per_s(_benchmark(apache_kafka, trickle_s=trickle_s)) > 0


async def test_a_worker_that_is_not_done_in_time_is_an_error(apache_kafka: KafkaSettings) -> None:
    with pytest.raises(BenchmarkError, match="expected 1 records to be published, got 0"):
        await burst_per_s(_benchmark(apache_kafka, trickle_s=0.0, timeout_s=0.0))
