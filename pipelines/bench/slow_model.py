"""A worker whose model takes its time for each call: a burst after a trickle, against the same burst alone."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from prometheus_client import CollectorRegistry

from pipelines.bench.hidden_backlog import hidden_backlog
from pipelines.bench.stream_events import BenchmarkError, Conversation, make_unseen_records
from pipelines.streaming.broker import OutgoingRecord
from pipelines.streaming.kafka.broker_administration import produce
from pipelines.streaming.kafka.connection import connect
from pipelines.streaming.processing import RecordProcessor
from pipelines.streaming.settings import KafkaSettings, StreamSettings
from pipelines.streaming.worker import StreamWorker
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment, Coverage, ItemFailure
from protector_models.moderation.moderator import Moderator
from protector_models.policies.policy_file import load_policy
from services.counters.process_counters import PrometheusMetrics

CALL_S = 0.5
"""What the model takes for a call, be it of one text or of a whole micro-batch."""
TRICKLE_PER_S = 74
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstBenchmark:
    """What one worker is shown."""

    kafka: KafkaSettings
    stream: StreamSettings
    """With topics and a group that nobody has used."""
    conversations: Sequence[Conversation]
    burst_records: int
    trickle_s: float
    """How long records come one by one before the burst; 0: it begins with the burst."""
    timeout_s: float


async def burst_per_s(benchmark: BurstBenchmark) -> float:
    """Show a worker a trickle and then a burst; return the burst's records per second, until all are published.

    Nothing is cached, and the model finds no harm.

    Raises:
        BenchmarkError: not everything was published in time.
        WeirError: what ended the worker.
    """
    stream, metrics = benchmark.stream, PrometheusMetrics(CollectorRegistry())
    moderator = Moderator(policy=load_policy(None), detector=_SlowDetector(), cache=_NothingCached(), metrics=metrics)
    worker = StreamWorker(
        connection=await asyncio.to_thread(connect, benchmark.kafka, stream, member="0"),
        processor=RecordProcessor(moderator=moderator, settings=stream, versions=dict, metrics=metrics),
        settings=stream,
        metrics=metrics,
    )
    run = asyncio.create_task(worker.run())
    try:
        return await asyncio.to_thread(_measure, benchmark, lambda: worker.status().records_published, run.done)
    finally:
        worker.stop()
        await run


def _measure(benchmark: BurstBenchmark, published: Callable[[], int], has_ended: Callable[[], bool]) -> float:
    deadline = time.monotonic() + benchmark.timeout_s

    def wait_for(number: int) -> None:
        while published() < number:
            if has_ended() or time.monotonic() > deadline:
                raise BenchmarkError(f"expected {number} records to be published, got {published()}")
            time.sleep(_POLL_S)

    num_trickling = round(TRICKLE_PER_S * benchmark.trickle_s)
    number = 1 + num_trickling + benchmark.burst_records
    records = make_unseen_records(benchmark.conversations, benchmark.stream.group, number)
    _send(benchmark, islice(records, 1))
    wait_for(1)  # it has its partitions now
    _send(benchmark, _paced(islice(records, num_trickling)))
    with hidden_backlog(benchmark.kafka, benchmark.stream, records) as show:
        started = time.perf_counter()
        show()
        wait_for(number)
        return benchmark.burst_records / (time.perf_counter() - started)


def _paced(records: Iterable[OutgoingRecord]) -> Iterator[OutgoingRecord]:
    """Yield each record when its time has come; one that is late delays none that follow."""
    started = time.perf_counter()
    for position, record in enumerate(records):
        time.sleep(max(0.0, started + position / TRICKLE_PER_S - time.perf_counter()))
        yield record


def _send(benchmark: BurstBenchmark, records: Iterable[OutgoingRecord]) -> None:
    produce(benchmark.kafka, (replace(record, topic=benchmark.stream.source_topic) for record in records))


class _SlowDetector:
    """Takes as long for one text as for a batch of them, as an endpoint or a GPU does; finds no harm."""

    revision = "slow-detector@1"

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        await asyncio.sleep(CALL_S)
        return [self._assess(exchange) for exchange in exchanges]

    def _assess(self, exchange: Exchange) -> Assessment:
        characters = len(exchange.question()) + len(exchange.response)
        coverage = Coverage.of(exchange, characters_evaluated=characters, characters_total=characters)
        return Assessment(harmfulness=0.0, categories={}, detector=self.revision, truncated=False, coverage=coverage)


class _NothingCached:
    """A cache that keeps nothing."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [None] * len(keys)

    async def put_many(self, values: Mapping[str, bytes], *, ttl_s: int | None = None) -> None:
        pass
