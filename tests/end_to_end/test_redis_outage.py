"""Redis stops and comes back in mid-stream: no error, no loss, counted misses."""

import asyncio
from collections import Counter
from uuid import uuid4

import pytest
from pydantic import SecretStr

from pipelines.streaming.broker import OutgoingRecord
from pipelines.streaming.kafka.broker_administration import ensure_topics, produce, read_topic
from pipelines.streaming.kafka.connection import connect
from pipelines.streaming.processing import RecordProcessor
from pipelines.streaming.settings import DeadLetterSettings, KafkaSettings, StreamSettings
from pipelines.streaming.worker import StreamWorker
from protector_models.moderation.fakes import FakeHarmDetector, RecordedMetrics
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.verdict import ModeratedConversation
from protector_models.policies.policy_file import load_policy
from services.settings import RedisSettings
from services.stores.local_redis import LocalRedis
from services.stores.verdict_cache import RedisVerdictCache
from tests import builders
from tests.pipelines.streaming.rigs import running, until

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

PHASE = 300


def _records(topic: str, run: str, answer: str) -> list[OutgoingRecord]:
    events = [
        builders.event(f"{answer} {number}.", event_id=f"{run}-{number}", conversation_id=f"c{number % 7}")
        for number in range(PHASE)
    ]
    return [
        OutgoingRecord(topic=topic, key=event.conversation_id.encode(), value=event.model_dump_json().encode())
        for event in events
    ]


async def test_a_redis_that_stops_and_comes_back_costs_cached_verdicts_and_nothing_else(
    apache_kafka: KafkaSettings, redis_server: LocalRedis
) -> None:
    name = f"outage-{uuid4().hex[:8]}"
    settings = StreamSettings(
        source_topic=f"{name}.in",
        sink_topic=f"{name}.out",
        group=name,
        dead_letters=DeadLetterSettings(topic=f"{name}.dead"),
    )
    ensure_topics(apache_kafka, {f"{name}.in": 2, f"{name}.out": 2, f"{name}.dead": 1})
    metrics = RecordedMetrics()
    redis = RedisSettings(url=SecretStr(redis_server.url), timeout_s=5.0, breaker_open_s=0.05)
    cache = RedisVerdictCache.from_settings(redis, metrics=metrics)
    moderator = Moderator(policy=load_policy(None), detector=FakeHarmDetector(), cache=cache, metrics=metrics)
    processor = RecordProcessor(moderator=moderator, settings=settings, versions=dict, metrics=metrics)
    connection = await asyncio.to_thread(connect, apache_kafka, settings, member="0")
    worker = StreamWorker(connection=connection, processor=processor, settings=settings, metrics=metrics)

    async def send_and_wait(run: str, total: int, answer: str = "Answer") -> None:
        await asyncio.to_thread(produce, apache_kafka, _records(f"{name}.in", run, answer))
        await until(lambda: worker.status().records_published == total, timeout_s=100)

    async with running(worker) as task:
        await send_and_wait("cold", PHASE)
        assert metrics.total("weir_cache_hits_total") == 0
        await send_and_wait("warm", 2 * PHASE)
        assert metrics.total("weir_cache_hits_total") == PHASE
        assert metrics.total("weir_cache_errors_total") == 0

        redis_server.stop()
        # Other ones: what Redis gave lately is at hand without it.
        await send_and_wait("down", 3 * PHASE, "Other answer")
        assert metrics.total("weir_cache_hits_total") == PHASE
        assert metrics.total("weir_cache_misses_total") == 2 * PHASE
        assert metrics.total("weir_cache_errors_total") > 0

        redis_server.start()
        await send_and_wait("empty", 4 * PHASE, "Other answer")
        await send_and_wait("warm-again", 5 * PHASE, "Other answer")
        assert metrics.total("weir_cache_hits_total") > PHASE
        assert not task.done()
    await cache.close()

    values = [record.value or b"" for record in read_topic(apache_kafka, f"{name}.out")]
    seen = Counter(ModeratedConversation.model_validate_json(value).event_id for value in values)
    runs = ("cold", "warm", "down", "empty", "warm-again")
    assert seen == Counter(f"{run}-{number}" for run in runs for number in range(PHASE))
    assert metrics.total("weir_failures_total") == 0
