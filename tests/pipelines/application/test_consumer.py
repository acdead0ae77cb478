"""A stream consumer without Ray: handles to deployments in this process."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.application import consumer as consumer_module
from pipelines.application.consumer import ConsumerStuckError, StreamConsumer
from pipelines.settings import WeirSettings
from pipelines.streaming.broker import OutgoingRecord, Record
from pipelines.streaming.kafka.broker_administration import ensure_topics, produce, read_topic
from pipelines.streaming.runaway_limit import RunawayDeadLettersError
from pipelines.streaming.settings import DeadLetterSettings, KafkaSettings, StreamSettings
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.policy.policy import Policy, TenantOverrides
from protector_models.moderation.verdict import ModeratedConversation
from protector_models.policies.policy_file import load_policy
from services.deployments.replicas import DetectorReplica
from services.scaling.consumer_reports import LAG_RECORDS, PARTITIONS, PUBLISHED_RECORDS, WAITING_RECORDS
from services.settings import ModelDeadlines, ServeSettings
from tests.builders import policy
from tests.logs import logs_of_its_own
from tests.pipelines.streaming.brokers import PATIENCE_S, stream_settings
from tests.protector_models.synchronous_detector import load_plain
from tests.services.deployments.fake_handle import FakeDeployment, FakeHandle
from tests.wire import encode

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
async def consumer(
    settings: WeirSettings, detector: FakeDeployment, policy: Policy | None = None
) -> AsyncIterator[StreamConsumer]:
    """Start a consumer as Serve does, and close it."""
    started = StreamConsumer(settings, policy or load_policy(None), handles={"detector": FakeHandle(detector)})
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
async def test_a_policy_that_changes_is_in_force_in_mid_stream(apache_kafka: KafkaSettings, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    text = "version: {}\nrules: [{{category: any, threshold: 0.5, action: block}}]\nsafe_completions: {{default: a}}\n"
    file.write_text(text.format("second"))
    settings = settings_for(apache_kafka).model_copy(update={"policy": file, "policy_reload_s": 0.05})
    async with consumer(settings, working()) as started:
        await send(settings, encode(event_id="before"))
        await status_when(started, lambda status: status.get("records_published") == 1)
        file.write_text(text.format("third"))
        await status_when(started, lambda status: str(status["policy"]).startswith("third@"))
        await send(settings, encode(event_id="after"))
        await status_when(started, lambda status: status.get("records_published") == 2)
    records = await read(settings, settings.stream.sink_topic)
    verdicts = [ModeratedConversation.model_validate_json(record.value or b"") for record in records]
    named = {verdict.event_id: verdict.policy_version.partition("@")[0] for verdict in verdicts}
    assert named == {"before": "second", "after": "third"}


@pytest.mark.kafka
async def test_it_moderates_tells_its_lag_and_goes_on_under_another_rank(apache_kafka: KafkaSettings) -> None:
    settings = settings_for(apache_kafka)
    await send(settings, *(encode(event_id=f"e{number}") for number in range(10)))
    async with consumer(settings, working()) as started:
        status = await status_when(started, lambda status: status.get("records_published") == 10)
        assert (status["connected"], status["stopped"], status["records_in_flight"]) == (True, None, 0)
        await started.check_health()
        assert await started.record_autoscaling_stats() == {
            LAG_RECORDS: 0.0,
            PARTITIONS: NUM_PARTITIONS,
            PUBLISHED_RECORDS: 10.0,
            WAITING_RECORDS: 0.0,
        }

        await started.reconfigure(None, Rank(0))
        assert (await started.status())["records_published"] == 10

        await started.reconfigure(None, Rank(1))
        await send(settings, *(encode(event_id=f"e{number}") for number in range(10, 15)))
        await status_when(started, lambda status: status.get("records_published") == 5)
    assert await moderated_ids(settings) == [f"e{number}" for number in range(15)]
    assert (await started.status())["stopped"] is None
    await started.check_health()


@pytest.mark.kafka
async def test_while_its_detector_is_away_who_goes_on_is_served_and_who_waits_is_once_it_is_back(
    apache_kafka: KafkaSettings,
) -> None:
    settings = settings_for(apache_kafka, open_after_s=0.2, retry_initial_s=0.01, retry_max_s=0.02)
    rules = policy(tenants={"hasty": TenantOverrides(on_detector_outage="open")})
    detector = working()
    async with consumer(settings, detector, rules) as started:
        await status_when(started, lambda status: status["connected"] is True)
        detector.failures.extend(ModelUnavailableError("away") for _ in range(100_000))
        await send(settings, encode(event_id="hasty", tenant="hasty"))
        await status_when(started, lambda status: status.get("records_published") == 1)
        await send(settings, encode(event_id="patient"))
        num_failures = len(detector.failures)
        async with asyncio.timeout(PATIENCE_S):
            while len(detector.failures) > num_failures - 100:  # noqa: ASYNC110  (state of a fake)
                await asyncio.sleep(0.02)
        assert (await started.status())["records_published"] == 1
        detector.failures.clear()
        await status_when(started, lambda status: status.get("records_published") == 2)
    records = await read(settings, settings.stream.sink_topic)
    verdicts = [ModeratedConversation.model_validate_json(record.value or b"") for record in records]
    assert [(verdict.event_id, verdict.assessment is None) for verdict in verdicts] == [
        ("hasty", True),
        ("patient", False),
    ]


@pytest.mark.kafka
async def test_a_dead_letter_topic_that_takes_too_little_is_refused_at_the_start(apache_kafka: KafkaSettings) -> None:
    settings = settings_for(apache_kafka, record_max_bytes=5_000_000)
    async with consumer(settings, working()) as started:
        status = await status_when(started, is_stopped)
        assert "takes records of at most 1048588 bytes" in str(status["stopped"])


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
        assert await started.status() == {"member": "0", "connected": False, "stopped": None, "policy": None}
        await started.check_health()
        assert await started.record_autoscaling_stats() == {}
    assert (await started.status())["stopped"] is None


async def test_models_that_do_not_come_up_in_time_make_it_unhealthy() -> None:
    settings = WeirSettings(kafka=NOBODY, serve=ServeSettings(deadlines=ModelDeadlines(connect_s=0.05)))
    async with consumer(settings, FakeDeployment(None, hangs=True)) as started:
        await status_when(started, is_stopped)
        with pytest.raises(ModelUnavailableError):
            await started.check_health()


class SlowBroker:
    """Connects when the test says so, and notes what becomes of its connections."""

    def __init__(self) -> None:
        self.members: list[str] = []
        self.closed: list[str] = []
        self.answers = threading.Event()

    def connect(self, _kafka: KafkaSettings, _stream: StreamSettings, *, member: str) -> object:
        self.members.append(member)
        self.answers.wait(PATIENCE_S)
        return SlowConnection(self, member)


@dataclass
class SlowConnection:
    """Tells that it was closed; nothing else is asked of it."""

    broker: SlowBroker
    member: str

    def close(self, *, timeout_s: float) -> None:
        del timeout_s
        self.broker.closed.append(self.member)


async def test_a_connection_that_comes_up_while_the_rank_changes_is_closed_before_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = SlowBroker()
    monkeypatch.setattr(consumer_module, "connect", broker.connect)
    monkeypatch.setattr(consumer_module, "check_topics", lambda *_: None)
    started = StreamConsumer(WeirSettings(kafka=NOBODY), load_policy(None), handles={"detector": FakeHandle(working())})
    await started.reconfigure(None, Rank(0))
    async with asyncio.timeout(PATIENCE_S):
        while broker.members != ["0"]:  # noqa: ASYNC110  (state of another thread)
            await asyncio.sleep(0.01)
    closing = asyncio.create_task(started.close())
    await asyncio.sleep(0.05)
    broker.answers.set()
    await asyncio.wait_for(closing, PATIENCE_S)
    assert (broker.members, broker.closed) == (["0"], ["0"])


class Cancelling:
    """A replica whose client gives up every call as if the caller had been cancelled."""

    async def revision(self) -> None:
        raise asyncio.CancelledError


async def test_a_worker_that_is_cancelled_from_within_is_unhealthy_and_says_so() -> None:
    async with consumer(WeirSettings(kafka=NOBODY), FakeDeployment(Cancelling())) as started:
        status = await status_when(started, is_stopped)
        assert str(status["stopped"]).startswith(ConsumerStuckError.__name__)
        with pytest.raises(ConsumerStuckError, match="cancelled"):
            await started.check_health()


async def test_it_is_closed_twice_and_before_it_was_started() -> None:
    unstarted = StreamConsumer(
        WeirSettings(kafka=NOBODY), load_policy(None), handles={"detector": FakeHandle(working())}
    )
    await unstarted.check_health()
    await unstarted.close()
    await unstarted.close()
    assert await unstarted.status() == {"member": None, "connected": False, "stopped": None, "policy": None}
