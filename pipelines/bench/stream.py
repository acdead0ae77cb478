"""How fast the stream is: against the same Moderator in process (cold), and against a bare copy (all cached)."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from kafka import KafkaProducer  # type: ignore[import-untyped]  # kafka-python ships no type information
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from pipelines.application import run, stop
from pipelines.bench.report import Comparison, Progress, compare
from pipelines.bench.transactional_copy import copy_per_s
from pipelines.codec import decode_event
from pipelines.composition import in_process_moderator, load_policy_in_force, usable_cpus
from pipelines.demo.conversations import load_records
from pipelines.encoded import EncodedVerdict, moderate_encoded
from pipelines.settings import WeirSettings
from pipelines.streaming.apache_kafka import ApacheKafka
from pipelines.streaming.broker import OutgoingRecord
from pipelines.streaming.kafka_clients import build, close_producer, transaction_options
from pipelines.streaming.settings import KafkaSettings
from pipelines.streaming.topics import ensure_topics, produce, read_topic
from protector_models.moderation.errors import InvalidEventError, WeirError
from protector_models.moderation.fingerprint import exchange_fingerprint
from protector_models.moderation.memory_cache import MemoryVerdictCache
from services.app import start_serve
from services.local_redis import LocalRedis
from services.metrics import PrometheusMetrics
from services.remote_calls import ServeHandle, ask

_PARTITIONS = 4
_WARM_UP_RECORDS = 64
_STATUS_S = 0.05
_TIMEOUT_S = 900.0


class BenchmarkError(WeirError):
    """What was measured is not what was meant to be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBenchmark:
    """What is measured, and how often."""

    settings: WeirSettings
    cold_records: int
    """Distinct conversations for the comparison with the Moderator in process."""
    cached_records: int
    """Records, with these conversations again and again, for the comparison with a bare copy."""
    repeats: int


def run_stream_benchmark(benchmark: StreamBenchmark, progress: Progress) -> tuple[Comparison, Comparison]:
    """Run the application on a real Kafka and Redis of its own; return the cold and the cached comparison.

    Raises:
        BenchmarkError: not every record came out, or some were not cached that should have been.
        ConfigurationError: Kafka or Redis cannot be started here.
    """
    conversations = _distinct_conversations(benchmark.cold_records)
    cold: list[float] = []
    in_process: list[float] = []
    cached: list[float] = []
    copied: list[float] = []
    with ExitStack() as stack:
        progress("starting Kafka and Redis")
        kafka = stack.enter_context(ApacheKafka()).settings
        redis = stack.enter_context(LocalRedis())
        for repeat in range(benchmark.repeats):
            label = f"repeat {repeat + 1} of {benchmark.repeats}"
            settings = _settings(benchmark.settings, kafka, redis.url, repeat)
            _make_topics(settings)
            progress(f"{label}: the Moderator in process, {len(conversations)} conversations")
            in_process.append(asyncio.run(_in_process_per_s(settings, conversations)))
            redis.stop()
            redis.start()  # an empty one
            with _application(settings) as handle:
                progress(f"{label}: Kafka to Kafka, nothing cached")
                cold.append(_stream_per_s(settings, handle, _events(conversations, "cold", len(conversations))))
                progress(f"{label}: Kafka to Kafka, everything cached, {benchmark.cached_records} records")
                warm = list(_events(conversations, "warm", benchmark.cached_records))
                cached.append(_stream_per_s(settings, handle, warm))
            _require_cached(settings, benchmark.cached_records)
            progress(f"{label}: bare transactional copy of the same records")
            copied.append(_copy_per_s(settings, warm))
    return (
        compare(
            "stream, cold cache, exactly once",
            against_what="the same Moderator in process, same records and threads",
            values=cold,
            against=in_process,
            unit="events/s",
        ),
        compare(
            "stream, all cached, exactly once",
            against_what="bare kafka-python transactional copy of the same records",
            values=cached,
            against=copied,
            unit="events/s",
        ),
    )


def _settings(given: WeirSettings, kafka: KafkaSettings, redis_url: str, repeat: int) -> WeirSettings:
    """Return settings with topics and a group of this repeat alone, and the same threads in process and served."""
    topics = {
        "source_topic": f"bench.{repeat}.source",
        "sink_topic": f"bench.{repeat}.sink",
        "group": f"bench.{repeat}",
    }
    return given.model_copy(
        update={
            "kafka": kafka,
            "stream": given.stream.model_copy(update=topics),
            # Nothing here is about a slow Redis: on a busy machine a late answer would only blur what is measured.
            "redis": given.redis.model_copy(update={"url": SecretStr(redis_url), "timeout_s": 30.0}),
            "detector": given.detector.model_copy(update={"num_threads": given.detector.num_threads or usable_cpus()}),
        }
    )


def _make_topics(settings: WeirSettings) -> None:
    stream = settings.stream
    names = (stream.source_topic, stream.sink_topic, f"{stream.source_topic}.copy", f"{stream.sink_topic}.copy")
    ensure_topics(settings.kafka, dict.fromkeys(names, _PARTITIONS) | {stream.dead_letters.topic: 1})


def _distinct_conversations(number: int) -> list[dict[str, object]]:
    """Return events with distinct exchanges from the conversations that Weir ships."""
    distinct: dict[str, dict[str, object]] = {}
    for record in load_records():
        try:
            event = decode_event(record.value, max_bytes=1_000_000)
        except InvalidEventError:
            continue
        if event.response is not None:
            distinct.setdefault(exchange_fingerprint(event.exchange(event.response)), json.loads(record.value))
    if len(distinct) < number:
        raise BenchmarkError(f"there are {len(distinct)} distinct conversations; expected at least {number}")
    return list(distinct.values())[:number]


def _events(conversations: Sequence[dict[str, object]], run: str, number: int) -> Iterator[OutgoingRecord]:
    """Yield records with ids of their own, going round the conversations."""
    for position in range(number):
        event = conversations[position % len(conversations)] | {"event_id": f"{run}-{position}"}
        value = json.dumps(event, ensure_ascii=False).encode()
        yield OutgoingRecord(topic="", key=str(event["conversation_id"]).encode(), value=value)


async def _in_process_per_s(settings: WeirSettings, conversations: Sequence[dict[str, object]]) -> float:
    values = [record.value for record in _events(conversations, "cold", len(conversations))]
    size = settings.stream.batch_max_records
    policy, metrics = load_policy_in_force(settings), PrometheusMetrics(CollectorRegistry())
    cache = MemoryVerdictCache(max_entries=settings.redis.memory_max_entries)
    async with in_process_moderator(settings, policy, metrics, cache) as moderator:
        await moderate_encoded(moderator, values[:_WARM_UP_RECORDS], max_bytes=settings.stream.event_max_bytes)
    cache = MemoryVerdictCache(max_entries=settings.redis.memory_max_entries)
    async with in_process_moderator(settings, policy, metrics, cache) as moderator:
        started = time.perf_counter()
        for start in range(0, len(values), size):
            results = await moderate_encoded(
                moderator, values[start : start + size], max_bytes=settings.stream.event_max_bytes
            )
            if not all(isinstance(result, EncodedVerdict) for result in results):
                raise BenchmarkError("in process: some conversations could not be moderated")
        return len(values) / (time.perf_counter() - started)


@contextmanager
def _application(settings: WeirSettings) -> Iterator[ServeHandle]:
    try:
        start_serve(settings.serve)
        handle = run(settings)
        _wait_until(handle, lambda status: bool(status["connected"]))
        yield handle
    finally:
        stop()


def _stream_per_s(settings: WeirSettings, handle: ServeHandle, records: Iterable[OutgoingRecord]) -> float:
    """Show the stream all records at once; return records per second until the last one is published."""
    number = 0
    published = _status(handle)["records_published"]
    producer = build(KafkaProducer, transaction_options(settings.kafka, settings.stream, member="bench"))
    try:
        # Records of an open transaction are there but unseen, so producing them is over when the clock starts.
        producer.init_transactions()
        producer.begin_transaction()
        for record in records:
            producer.send(settings.stream.source_topic, value=record.value, key=record.key)
            number += 1
        producer.flush()
        started = time.perf_counter()
        producer.commit_transaction()
        _wait_until(handle, lambda status: status["records_published"] >= published + number)
        return number / (time.perf_counter() - started)
    finally:
        close_producer(producer, timeout_s=5.0)


def _copy_per_s(settings: WeirSettings, records: Sequence[OutgoingRecord]) -> float:
    stream = settings.stream
    copied = stream.model_copy(
        update={"source_topic": f"{stream.source_topic}.copy", "sink_topic": f"{stream.sink_topic}.copy"}
    )
    produce(settings.kafka, (replace(record, topic=copied.source_topic) for record in records))
    return copy_per_s(settings.kafka, copied, num_records=len(records))


def _require_cached(settings: WeirSettings, number: int) -> None:
    """Raise unless every warm event came out once, without a model run."""
    seen: Counter[bool] = Counter()
    for record in read_topic(settings.kafka, settings.stream.sink_topic):
        value = record.value or b""
        if b'"event_id":"warm-' in value:
            seen[b'"cached":true' in value] += 1
    if seen != Counter({True: number}):
        raise BenchmarkError(f"expected {number} cached results, got {seen[True]} cached and {seen[False]} others")


def _wait_until(handle: ServeHandle, is_reached: Callable[[dict[str, Any]], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        status = _status(handle)
        if status["stopped"]:
            raise BenchmarkError(f"the consumer stopped: {status['stopped']}")
        if is_reached(status):
            return
        if time.monotonic() > deadline:
            raise BenchmarkError(f"not done within {_TIMEOUT_S:.0f} s: {status}")
        time.sleep(_STATUS_S)


def _status(handle: ServeHandle) -> dict[str, Any]:
    """Return the consumer's status; before it is connected there are no counts."""
    status: dict[str, Any] = asyncio.run(ask(handle, "status", timeout_s=60.0))
    return status
