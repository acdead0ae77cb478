"""How fast the stream is: on Ray Serve against the Moderator in process and a bare copy, and with backlogs."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from pipelines.bench.in_process import moderate_in_process
from pipelines.bench.measurements import Measurements, Row
from pipelines.bench.report import Progress
from pipelines.bench.served import served_stream
from pipelines.bench.slow_model import CALL_S, TRICKLE_PER_S, BurstBenchmark, burst_per_s
from pipelines.bench.stream_events import (
    BenchmarkError,
    Conversation,
    distinct_conversations,
    make_records,
    make_unseen_records,
)
from pipelines.bench.transactional_copy import copy_per_s
from pipelines.settings import WeirSettings
from pipelines.streaming.broker import OutgoingRecord
from pipelines.streaming.kafka.apache_kafka import ApacheKafka
from pipelines.streaming.kafka.broker_administration import ensure_topics, produce, read_topic
from pipelines.streaming.settings import KafkaSettings, StreamSettings
from services.moderators import usable_cpus
from services.stores.local_redis import LocalRedis

ROWS = {
    "cold": Row(
        benchmark="stream, cold cache, exactly once",
        against_what="the same Moderator in process, same records and threads",
        unit="events/s",
    ),
    "cached": Row(
        benchmark="stream, all cached, exactly once",
        against_what="bare kafka-python transactional copy of the same records",
        unit="events/s",
    ),
    "burst": Row(
        benchmark=f"burst after a trickle of {TRICKLE_PER_S} records/s, a model of {CALL_S:g} s a call, exactly once",
        against_what="the same worker that began with the burst",
        unit="events/s",
    ),
    "first_result": Row(
        benchmark="first result of a backlog, cold cache, exactly once; less is better",
        against_what="its last result",
        unit="s",
    ),
}
"""What is measured, in the order in which it is reported."""

_PARTITIONS = 4
_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBenchmark:
    """What is measured, and how often."""

    settings: WeirSettings
    cold_records: int
    """Distinct conversations for the comparison with the Moderator in process."""
    cached_records: int
    """Records, with these conversations again and again, for the comparison with a bare copy."""
    backlog_records: int
    """Records, none of them cached, whose first result is waited for."""
    burst_records: int
    """Records for the worker with a slow model."""
    trickle_s: float
    """How long it is shown a trickle before them."""
    repeats: int


def run_stream_benchmark(benchmark: StreamBenchmark, measured: Measurements, progress: Progress) -> None:
    """Run the application on a real Kafka and Redis of its own.

    Args:
        benchmark: what to measure.
        measured: of `ROWS`; gets each pair as soon as there is one.
        progress: told what is being measured.

    Raises:
        BenchmarkError: not every record came out, or some were not cached that should have been.
        ConfigurationError: Kafka or Redis cannot be started here.
    """
    conversations = distinct_conversations(benchmark.cold_records)
    with ExitStack() as stack:
        progress("starting Kafka and Redis")
        kafka = stack.enter_context(ApacheKafka()).settings
        redis = stack.enter_context(LocalRedis())
        for repeat in range(benchmark.repeats):

            def tell(step: str, label: str = f"repeat {repeat + 1} of {benchmark.repeats}") -> None:
                progress(f"{label}: {step}")

            settings = _settings(benchmark.settings, kafka, redis.url, repeat)
            _measure_served(benchmark, settings, redis, conversations, measured, tell)
            _measure_bursts(benchmark, settings, conversations, measured, tell)


def _measure_served(
    benchmark: StreamBenchmark,
    settings: WeirSettings,
    redis: LocalRedis,
    conversations: Sequence[Conversation],
    measured: Measurements,
    tell: Progress,
) -> None:
    """Measure the application: cold, cached, and until the first result of a backlog."""
    _make_topics(settings.kafka, settings.stream)
    tell(f"the Moderator in process, {len(conversations)} conversations")
    in_process = asyncio.run(moderate_in_process(settings, conversations))
    if in_process.never_kept:
        tell(f"never cached, and left out of what is: {_list(in_process.never_kept)}")
    redis.stop()
    redis.start()  # an empty one
    with served_stream(settings, timeout_s=_TIMEOUT_S) as stream:
        tell("Kafka to Kafka, nothing cached")
        cold = stream.show(make_records(conversations, "cold", len(conversations)))
        measured.add("cold", cold.per_s, against=in_process.per_s)
        tell(f"the first result of {benchmark.backlog_records} records, none of them cached")
        backlog = stream.show(make_unseen_records(conversations, "backlog", benchmark.backlog_records))
        measured.add("first_result", backlog.first_s, against=backlog.last_s)
        tell(f"Kafka to Kafka, everything cached, {benchmark.cached_records} records")
        warm = list(make_records(in_process.kept, "warm", benchmark.cached_records))
        cached = stream.show(warm)
    _require_cached(settings, len(warm))
    tell("bare transactional copy of the same records")
    measured.add("cached", cached.per_s, against=_copy_per_s(settings, warm))


def _measure_bursts(
    benchmark: StreamBenchmark,
    settings: WeirSettings,
    conversations: Sequence[Conversation],
    measured: Measurements,
    tell: Progress,
) -> None:
    """Measure a worker over a slow model: with a trickle before the burst, and without."""
    per_s = []
    for name, trickle_s in (("trickle", benchmark.trickle_s), ("burst", 0.0)):
        tell(f"a slow model: {benchmark.burst_records} records at once after {trickle_s:g} s of a trickle")
        stream = _apart(settings.stream, name)
        _make_topics(settings.kafka, stream)
        shown = BurstBenchmark(
            kafka=settings.kafka,
            stream=stream,
            conversations=conversations,
            burst_records=benchmark.burst_records,
            trickle_s=trickle_s,
            timeout_s=_TIMEOUT_S,
        )
        per_s.append(asyncio.run(burst_per_s(shown)))
    measured.add("burst", per_s[0], against=per_s[1])


def _settings(given: WeirSettings, kafka: KafkaSettings, redis_url: str, repeat: int) -> WeirSettings:
    """Return settings with topics and a group of this repeat alone, and the same threads in process and served."""
    topics: dict[str, Any] = {"action_topics": {}, "deduplicate_event_ids": 0}
    return given.model_copy(
        update={
            "kafka": kafka,
            "stream": _apart(given.stream.model_copy(update=topics), f"bench.{repeat}"),
            # Nothing here is about a slow Redis: on a busy machine a late answer would only blur what is measured.
            "redis": given.redis.model_copy(update={"url": SecretStr(redis_url), "timeout_s": 30.0}),
            "detector": given.detector.model_copy(update={"num_threads": given.detector.num_threads or usable_cpus()}),
        }
    )


def _apart(stream: StreamSettings, name: str) -> StreamSettings:
    """Return settings with topics and a group that have their own name."""
    stem = f"{stream.group}.{name}"
    return stream.model_copy(update={"source_topic": f"{stem}.source", "sink_topic": f"{stem}.sink", "group": stem})


def _make_topics(kafka: KafkaSettings, stream: StreamSettings) -> None:
    names = (stream.source_topic, stream.sink_topic, f"{stream.source_topic}.copy", f"{stream.sink_topic}.copy")
    ensure_topics(kafka, dict.fromkeys(names, _PARTITIONS) | {stream.dead_letters.topic: 1})


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


def _list(reasons: Counter[str]) -> str:
    return ", ".join(f"{number} that end in {reason}" for reason, number in reasons.most_common())
