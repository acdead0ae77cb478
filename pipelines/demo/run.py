"""The demonstration: everything started, real conversations sent through it, results read and counted."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from pipelines.application.deployment import run, stop
from pipelines.demo.conversations import DemoRecord
from pipelines.demo.tally import DemoResult, Tally
from pipelines.settings import WeirSettings
from pipelines.streaming.broker import OutgoingRecord
from pipelines.streaming.kafka.broker_administration import ensure_topics, produce
from pipelines.streaming.kafka.embedded_broker import EmbeddedBroker
from pipelines.streaming.kafka.tail import TopicTail
from pipelines.streaming.settings import KafkaSettings
from protector_models.moderation.errors import DependencyError
from services.deployments.application import start_serve
from services.free_ports import free_ports
from services.http.settings import HttpSettings, RateLimitSettings
from services.moderators import usable_cpus
from services.stores.local_redis import LocalRedis

_OUTSTANDING = 128
"""Events sent and not yet answered: enough to keep every part busy, so few that latency is not just a queue."""
_SILENCE_S = 120.0
_PARTITIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where Kafka and Redis are; None is one that the demonstration starts itself."""

    kafka: str | None
    redis: str | None


@contextmanager
def running_application(
    settings: WeirSettings, servers: Servers, tell: Callable[[str], None]
) -> Iterator[WeirSettings]:
    """Start what is needed and the application; yield the settings in force. Everything is stopped at the end.

    Raises:
        ConfigurationError: something cannot be started.
        BrokerUnavailableError: there is no Kafka at the given address.
    """
    with ExitStack() as stack:
        if servers.redis is None:
            tell("starting a Redis of its own")
            redis_url = stack.enter_context(LocalRedis()).url
        else:
            redis_url = servers.redis
        if servers.kafka is None:
            tell("starting an embedded Kafka-protocol broker (librdkafka's mock cluster: for demonstration only)")
            broker = stack.enter_context(EmbeddedBroker())
            kafka = broker.settings
        else:
            broker = None
            kafka = settings.kafka.model_copy(update={"bootstrap_servers": tuple(servers.kafka.split(","))})
        used = _demo_settings(settings, kafka, redis_url)
        topics = (used.stream.source_topic, used.stream.sink_topic, used.stream.dead_letters.topic)
        if broker is None:
            ensure_topics(kafka, dict.fromkeys(topics, _PARTITIONS))
        else:
            broker.create_topics(*topics)
        tell("starting Ray and the application: image reader, detector, detoxifier, stream consumer, HTTP front")
        stack.callback(stop)
        start_serve(used.serve, http=used.http)
        run(used)
        yield used


def send_through(
    settings: WeirSettings, records: Sequence[DemoRecord], *, started: float, show: Callable[[Tally], None]
) -> DemoResult:
    """Send records, never more than some outstanding, and read until each has its result.

    Args:
        settings: of the application that runs.
        records: what to send.
        started: when the command began, monotonic seconds.
        show: called with the counts so far.

    Raises:
        DependencyError: nothing came out for a long time.
    """
    tally = Tally()
    window = threading.Semaphore(_OUTSTANDING)
    is_over = threading.Event()

    def outgoing() -> Iterator[OutgoingRecord]:
        for record in records:
            window.acquire()
            if is_over.is_set():
                return
            tally.note_sent(record.value, time.monotonic())
            yield OutgoingRecord(topic=settings.stream.source_topic, key=record.key, value=record.value)

    topics = (settings.stream.sink_topic, settings.stream.dead_letters.topic)
    with TopicTail.open(settings.kafka, topics) as tail:
        producer = threading.Thread(
            target=produce, args=(settings.kafka, outgoing()), name="demo-producer", daemon=True
        )
        producer.start()
        began = heard = time.monotonic()
        first_verdict_s = 0.0
        try:
            while tally.results() < len(records):
                results = tail.poll(timeout_s=0.2)
                now = time.monotonic()
                for record in results:
                    if record.source.topic == settings.stream.sink_topic:
                        first_verdict_s = first_verdict_s or now - started
                        tally.note_verdict(record, now)
                    else:
                        tally.note_dead_letter(record)
                    window.release()
                heard = now if results else heard
                if now - heard > _SILENCE_S:
                    raise DependencyError(f"no result for {_SILENCE_S:.0f} s; see the logs of Ray in /tmp/ray")
                show(tally)
        finally:
            is_over.set()
            window.release()
        producer.join(_SILENCE_S)
    return tally.result(sent=len(records), first_verdict_s=first_verdict_s, elapsed_s=time.monotonic() - began)


def _demo_settings(settings: WeirSettings, kafka: KafkaSettings, redis_url: str) -> WeirSettings:
    """Return settings with topics and a group of this run alone, so that a real Kafka can see many of them."""
    run_id = f"weir.demo.{time.time_ns() // 1_000_000}"
    stream = settings.stream.model_copy(
        update={
            "source_topic": f"{run_id}.conversations",
            "sink_topic": f"{run_id}.moderated",
            "group": run_id,
            "action_topics": {},
            "deduplicate_event_ids": 0,
            "dead_letters": settings.stream.dead_letters.model_copy(update={"topic": f"{run_id}.dead-letters"}),
        }
    )
    return settings.model_copy(
        update={
            "kafka": kafka,
            "stream": stream,
            "http": _demo_front(settings),
            "redis": settings.redis.model_copy(update={"url": SecretStr(redis_url)}),
            "detector": settings.detector.model_copy(
                update={"num_threads": settings.detector.num_threads or usable_cpus()}
            ),
        }
    )


def _demo_front(settings: WeirSettings) -> HttpSettings | None:
    """Return a front for this machine on a free port; None where the application runs on a cluster."""
    if settings.serve.address is not None:
        return None
    (port,) = free_ports(1)
    here = {"host": "127.0.0.1", "port": port, "keys": (), "tls": None, "rate_limits": RateLimitSettings()}
    return (settings.http or HttpSettings()).model_copy(update=here)
