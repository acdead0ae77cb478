"""A streaming worker over a broker in memory, with a Moderator that tests can hold up."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from pipelines.streaming.broker import BrokerConnection, Headers, OutgoingRecord, Record
from pipelines.streaming.memory.broker import MemoryBroker, MemoryConnection
from pipelines.streaming.processing import RecordProcessor
from pipelines.streaming.settings import DeadLetterSettings, StreamSettings
from pipelines.streaming.versions import Versions
from pipelines.streaming.worker import StreamWorker
from protector_models.moderation.conclusions import Decided
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import FakeHarmDetector, RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.verdict import ModeratedConversation, Outcome
from protector_models.policies.policy_file import load_policy
from tests import builders

SETTINGS = StreamSettings(
    source_topic="in",
    sink_topic="out",
    group="g",
    dead_letters=DeadLetterSettings(topic="dead", runaway_share=None),
    batch_max_records=4,
    concurrent_batches=4,
    publish_interval_s=0.0,
    retry_initial_s=0.001,
    retry_max_s=0.002,
    drain_timeout_s=5.0,
)


@dataclass
class HeldModerator:
    """A Moderator that waits before it answers batches with certain events, or is unavailable for a while."""

    moderator: Moderator
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    """By event_id: what a batch with that event waits for."""
    failures: int = 0
    """How many of the next calls find their model unavailable."""
    cancellations: int = 0
    """How many of the next calls are cancelled by nobody who may."""
    called: list[str] = field(default_factory=list)
    """The event_ids of all calls, in order."""
    rewriting: asyncio.Event | None = None
    """What all rewriting waits for."""
    rewriting_failures: int = 0
    """How many of the next calls for rewriting find their model unavailable."""
    mended: bool = False
    """Whether no response is harmful or poison any more: all are read as fine."""

    async def decide(self, events: Sequence[ConversationEvent]) -> list[Outcome | Decided]:
        self.called += [event.event_id for event in events]
        if self.failures:
            self.failures -= 1
            raise ModelUnavailableError("scripted")
        if self.cancellations:
            self.cancellations -= 1
            raise asyncio.CancelledError
        for event in events:
            if event.event_id in self.held:
                await self.held[event.event_id].wait()
        if self.mended:
            events = [event.model_copy(update={"response": "fine"}) for event in events]
        return await self.moderator.decide(events)

    async def rewrite(self, decided: Sequence[Decided]) -> list[Outcome]:
        if self.rewriting_failures:
            self.rewriting_failures -= 1
            raise ModelUnavailableError("scripted")
        if self.rewriting is not None:
            await self.rewriting.wait()
        return await self.moderator.rewrite(decided)


@dataclass
class Rig:
    """Everything a test of the worker looks at."""

    broker: MemoryBroker
    moderator: HeldModerator
    metrics: RecordedMetrics
    settings: StreamSettings
    versions: Versions

    def worker(self, *, member: str = "0") -> StreamWorker:
        return self.worker_over(self.connect(member=member))

    def connect(self, *, member: str = "0") -> MemoryConnection:
        return self.broker.connect(self.settings, member=member)

    def worker_over(self, connection: BrokerConnection, *, clock: Callable[[], float] = time.monotonic) -> StreamWorker:
        processor = RecordProcessor(
            moderator=self.moderator, settings=self.settings, versions=self.versions, metrics=self.metrics
        )
        return StreamWorker(
            connection=connection, processor=processor, settings=self.settings, metrics=self.metrics, clock=clock
        )

    def send(self, *event_ids: str, conversation_id: str = "c", response: str = "fine", headers: Headers = ()) -> None:
        events = [
            builders.event(response, event_id=event_id, conversation_id=conversation_id) for event_id in event_ids
        ]
        self.send_bytes(
            *(event.model_dump_json().encode() for event in events), key=conversation_id.encode(), headers=headers
        )

    def send_bytes(self, *values: bytes | None, key: bytes = b"c", headers: Headers = ()) -> None:
        self.broker.append(OutgoingRecord(topic="in", key=key, value=value, headers=headers) for value in values)

    def moderated(self) -> list[ModeratedConversation]:
        return [ModeratedConversation.model_validate_json(record.value or b"") for record in self.broker.read("out")]

    def moderated_ids(self) -> list[str]:
        return [verdict.event_id for verdict in self.moderated()]

    def num_committed(self) -> int:
        """Return how many records of the source are committed."""
        return sum(self.broker.committed(self.settings.group).values())

    def dead_letters(self) -> list[Record]:
        return self.broker.read("dead")


def build_rig(
    *, partitions: int = 1, settings: StreamSettings = SETTINGS, versions: Versions = lambda: {"weir": "test"}
) -> Rig:
    metrics = RecordedMetrics()
    moderator = Moderator(
        policy=load_policy(None),
        detector=FakeHarmDetector(),
        cache=MemoryVerdictCache(max_entries=1_000),
        metrics=metrics,
    )
    return Rig(
        broker=MemoryBroker(
            {
                "in": partitions,
                "out": partitions,
                "dead": 1,
                "dead.replayed": 1,
                **dict.fromkeys(settings.action_topics.values(), partitions),
            }
        ),
        moderator=HeldModerator(moderator),
        metrics=metrics,
        settings=settings,
        versions=versions,
    )


@contextlib.asynccontextmanager
async def running(worker: StreamWorker) -> AsyncIterator[asyncio.Task[None]]:
    """Run a worker; at the end it drains, unless it has ended by itself."""
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        worker.stop()
        await asyncio.wait([task], timeout=30)


async def until(is_reached: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(timeout_s):
        while not is_reached():  # noqa: ASYNC110  (what is waited for is state of the worker, not an event of ours)
            await asyncio.sleep(0.002)
