"""A stream consumer without Ray: handles to deployments in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from pipelines.settings import WeirSettings
from pipelines.streaming.broker import OutgoingRecord, Record
from pipelines.streaming.consumer import StreamConsumer
from pipelines.streaming.dead_letter import RunawayDeadLettersError
from pipelines.streaming.settings import DeadLetterSettings, KafkaSettings, StreamSettings
from pipelines.streaming.topics import ensure_topics, produce, read_topic
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.verdict import ModeratedConversation
from protector_models.policy_file import load_policy
from services.autoscaling import LAG_RECORDS, PARTITIONS
from services.replicas import DetectorReplica
from services.settings import ModelDeadlines, ServeSettings
from tests.pipelines.logs import logs_of_its_own
from tests.pipelines.streaming.brokers import PATIENCE_S, stream_settings
from tests.pipelines.wire import encode
from tests.protector_models.synchronous_detector import load_plain
from tests.services.fake_handle import FakeDeployment, FakeHandle

NUM_PARTITIONS = 2
NOBODY = KafkaSettings(bootstrap_servers=("127.0.0.1:1",))


@dataclass
class Rank:
    """What Serve tells of a replica's place."""

    rank: int


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    with logs_of_its_own():
        yield


def settings_for(kafka: KafkaSettings, **changes: object) -> WeirSettings:
    """Build settings with topics that nobody else uses, and create them."""
    stream: StreamSettings = stream_settings(publish_interval_s=0.0, **changes)
    stream = stream.model_copy(
        update={"dead_letters": stream.dead_letters.model_copy(update={"topic": f"{stream.sink_topic}.dead"})}
    )
    ensure_topics(
        kafka, dict.fromkeys((stream.source_topic, stream.sink_topic, stream.dead_letters.topic), NUM_PARTITIONS)
    )
    return WeirSettings(kafka=kafka, stream=stream)


def working() -> FakeDeployment:
    return FakeDeployment(DetectorReplica(load_plain))


@asynccontextmanager
async def consumer(settings: WeirSettings, detector: FakeDeployment) -> AsyncIterator[StreamConsumer]:
    """Start a consumer as Serve does, and close it."""
    started = StreamConsumer(
        settings, load_policy(None), detector=FakeHandle(detector), images=None, detoxifier=None, mllm=None
    )
    await started.reconfigure(None, Rank(0))
    try:
        yield started
    finally:
        await asyncio.wait_for(started.close(), PATIENCE_S)


async def status_when(consumer: StreamConsumer, is_reached: Callable[[dict[str, object]], bool]) -> dict[str, object]:
    """Wait until the status says something; return it."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_reached(status := await consumer.status()):  # noqa: ASYNC110  (state of the consumer, no event of ours)
            await asyncio.sleep(0.02)
    return status


def is_stopped(status: dict[str, object]) -> bool:
    return status["stopped"] is not None


async def send(settings: WeirSettings, *values: bytes) -> None:
    records = [OutgoingRecord(topic=settings.stream.source_topic, key=b"c", value=value) for value in values]
    await asyncio.to_thread(produce, settings.kafka, records)


async def read(settings: WeirSettings, topic: str) -> list[Record]:
    return await asyncio.to_thread(lambda: list(read_topic(settings.kafka, topic, timeout_s=PATIENCE_S)))


async def moderated_ids(settings: WeirSettings) -> list[str]:
    records = await read(settings, settings.stream.sink_topic)
    return [ModeratedConversation.model_validate_json(record.value or b"").event_id for record in records]


@pytest.mark.kafka
async def test_it_moderates_tells_its_lag_and_goes_on_under_another_rank(apache_kafka: KafkaSettings) -> None:
    settings = settings_for(apache_kafka)
    await send(settings, *(encode(event_id=f"e{number}") for number in range(10)))
    async with consumer(settings, working()) as started:
        status = await status_when(started, lambda status: status.get("records_published") == 10)
        assert (status["connected"], status["stopped"], status["records_in_flight"]) == (True, None, 0)
        await started.check_health()
        assert await started.record_autoscaling_stats() == {LAG_RECORDS: 0.0, PARTITIONS: NUM_PARTITIONS}

        await started.reconfigure(None, Rank(0))
        assert (await started.status())["records_published"] == 10

        await started.reconfigure(None, Rank(1))
        await send(settings, *(encode(event_id=f"e{number}") for number in range(10, 15)))
        await status_when(started, lambda status: status.get("records_published") == 5)
    assert await moderated_ids(settings) == [f"e{number}" for number in range(15)]
    assert (await started.status())["stopped"] is None
    await started.check_health()


@pytest.mark.kafka
async def test_a_flood_of_dead_letters_stops_it_for_good_and_a_new_replica_would_do_no_better(
    apache_kafka: KafkaSettings,
) -> None:
    settings = settings_for(apache_kafka, dead_letters=DeadLetterSettings(runaway_window=5, runaway_share=0.5))
    await send(settings, *[b"nonsense"] * 20)
    async with consumer(settings, working()) as started:
        status = await status_when(started, is_stopped)
        assert str(status["stopped"]).startswith(RunawayDeadLettersError.__name__)
        await started.check_health()
        assert await started.record_autoscaling_stats() == {}
    assert await moderated_ids(settings) == []


async def test_it_is_well_while_its_models_are_starting_and_ends_when_it_is_closed_then() -> None:
    hanging = FakeDeployment(None, hangs=True)
    async with consumer(WeirSettings(kafka=NOBODY), hanging) as started:
        assert await started.status() == {"connected": False, "stopped": None}
        await started.check_health()
        assert await started.record_autoscaling_stats() == {}
    assert (await started.status())["stopped"] is None


async def test_models_that_do_not_come_up_in_time_make_it_unhealthy() -> None:
    settings = WeirSettings(kafka=NOBODY, serve=ServeSettings(deadlines=ModelDeadlines(connect_s=0.05)))
    async with consumer(settings, FakeDeployment(None, hangs=True)) as started:
        await status_when(started, is_stopped)
        with pytest.raises(ModelUnavailableError):
            await started.check_health()


async def test_it_is_closed_twice_and_before_it_was_started() -> None:
    unstarted = StreamConsumer(
        WeirSettings(kafka=NOBODY),
        load_policy(None),
        detector=FakeHandle(working()),
        images=None,
        detoxifier=None,
        mllm=None,
    )
    await unstarted.check_health()
    await unstarted.close()
    await unstarted.close()
    assert await unstarted.status() == {"connected": False, "stopped": None}
