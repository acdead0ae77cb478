"""A stream consumer in a Ray Serve replica: a Kafka connection, and a Moderator whose models are other deployments."""

import asyncio
import gc
from contextlib import AsyncExitStack
from dataclasses import asdict
from importlib.metadata import version
from typing import Protocol

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from pipelines.composition import verdict_cache
from pipelines.logs import configure_logs
from pipelines.settings import WeirSettings
from pipelines.streaming.dead_letter import RunawayDeadLettersError
from pipelines.streaming.kafka_broker import KafkaConnection, connect
from pipelines.streaming.processing import RecordProcessor
from pipelines.streaming.worker import StreamWorker
from protector_models.images.source import load_image_source
from protector_models.languages import LanguageIdentifier
from protector_models.moderation.errors import BrokerUnavailableError, WeirError
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy import Policy
from protector_models.moderation.ports import Metrics, VerdictCache
from services.autoscaling import LAG_RECORDS, PARTITIONS
from services.ray_metrics import RayMetrics
from services.remote import RemoteDetoxifier, RemoteGenerator, RemoteHarmDetector, RemoteImageReader
from services.remote_calls import ServeHandle

_log = structlog.get_logger(__name__)

_GC_THRESHOLDS = (100_000, 50, 100)


class ConsumerStuckError(WeirError):
    """The worker does not poll any more."""


class ReplicaRank(Protocol):
    """What Serve tells of a replica's place among the others."""

    rank: int
    """0, 1, ...; a replica that takes over from a dead one has its rank."""


class StreamConsumer:
    """Runs a `StreamWorker` for as long as the replica lives."""

    def __init__(
        self,
        settings: WeirSettings,
        policy: Policy,
        *,
        detector: ServeHandle,
        images: ServeHandle | None,
        detoxifier: ServeHandle | None,
        mllm: ServeHandle | None,
    ) -> None:
        """Put a consumer together; `reconfigure`, which Serve calls next, starts it. It has a process of its own.

        Args:
            settings: of the whole application.
            policy: turns assessments into actions.
            detector: the deployment that scores responses.
            images: the deployment that reads images; None: every image is unread.
            detoxifier: the deployment that rewrites them; None: by methods that need no model only.
            mllm: the deployment that answers events without a response; None: such events are dead letters.
        """
        configure_logs(settings.log)
        # Records in flight are many small objects that die by themselves; looking through them all the time for cycles
        # cost a seventh of the throughput of cached events.
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        self._settings = settings
        self._policy = policy
        self._detector = detector
        self._images = images
        self._detoxifier = detoxifier
        self._mllm = mllm
        self._member: str | None = None
        self._worker: StreamWorker | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def reconfigure(self, user_config: object, rank: ReplicaRank) -> None:
        """Run under the name that belongs to a rank; called by Serve at the start and whenever the rank changes.

        The name is the consumer's identity in its group and in its transactions, so it must be nobody else's at a time.
        Serve closes gaps between ranks after a scale-down: then the old name is given up before the new one is taken.
        Returns at once at the start: the replica is up before its models and its broker are.

        Args:
            user_config: not used; Serve passes it first.
            rank: of this replica.
        """
        del user_config
        member = str(rank.rank)
        if member != self._member:
            await self._stop()
            self._member = member
            self._task = asyncio.create_task(self._run(member))

    async def status(self) -> dict[str, object]:
        """Return what the consumer is doing; `stopped` says why it works no more."""
        error = self._error()
        stopped = None if error is None else f"{type(error).__name__}: {error}"
        worker = {} if self._worker is None else asdict(self._worker.status())
        return {"connected": self._worker is not None, "stopped": stopped, **worker}

    async def check_health(self) -> None:
        """Raise where a new replica could do better.

        A worker that was stopped by a flood of dead letters stays stopped: a new one would only drown again.

        Raises:
            WeirError: the worker ended, or does not poll any more.
        """
        error = self._error()
        if error is not None and not isinstance(error, RunawayDeadLettersError):
            raise error
        if error is None and self._worker is not None and not self._closing:
            silent_s = self._worker.status().seconds_since_poll
            if silent_s > self._settings.stream.max_poll_interval_s:
                raise ConsumerStuckError(f"no poll for {silent_s:.0f} s")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return how many records wait in how many partitions of this replica; its deployment scales on them."""
        if self._worker is None or self._error() is not None:
            return {}
        try:
            lag = await self._worker.lag()
        except BrokerUnavailableError:
            return {}
        return {LAG_RECORDS: float(sum(lag.values())), PARTITIONS: float(len(lag))}

    async def close(self) -> None:
        """Drain: finish and publish what is in flight, give up the rest, leave the group."""
        self._closing = True
        await self._stop()

    async def _stop(self) -> None:
        if self._task is None:
            return
        if self._worker is None:
            self._task.cancel()
        else:
            self._worker.stop()
        await asyncio.wait([self._task])
        self._worker = None

    def _error(self) -> BaseException | None:
        """Return what ended the worker; None while it works, and after it was stopped."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    async def _run(self, member: str) -> None:
        try:
            async with AsyncExitStack() as stack:
                self._worker = await self._build_worker(stack, member)
                await self._worker.run()
        except Exception as error:
            _log.error("stream consumer stopped", error=type(error).__name__, reason=str(error))
            raise

    async def _build_worker(self, stack: AsyncExitStack, member: str) -> StreamWorker:
        settings, metrics = self._settings, RayMetrics()
        cache = await stack.enter_async_context(verdict_cache(settings, metrics))
        moderator = await self._build_moderator(stack, cache, metrics)
        return StreamWorker(
            connection=await self._connect(member),
            processor=RecordProcessor(
                moderator=moderator,
                settings=settings.stream,
                versions={"weir": version("weir"), "policy": self._policy.version},
                metrics=metrics,
            ),
            settings=settings.stream,
            metrics=metrics,
        )

    async def _build_moderator(self, stack: AsyncExitStack, cache: VerdictCache, metrics: Metrics) -> Moderator:
        """Connect to the other deployments; they may take longer to start than this one."""
        calls, deadlines, images = self._settings.serve.calls, self._settings.serve.deadlines, self._settings.images
        source = load_image_source(images)
        stack.push_async_callback(source.close)
        return Moderator(
            policy=self._policy,
            detector=await RemoteHarmDetector.connect(
                self._detector, connect_timeout_s=deadlines.connect_s, timeout_s=deadlines.assess_s, calls=calls
            ),
            cache=cache,
            metrics=metrics,
            detoxifier=None
            if self._detoxifier is None
            else await RemoteDetoxifier.connect(
                self._detoxifier, connect_timeout_s=deadlines.connect_s, timeout_s=deadlines.rewrite_s, calls=calls
            ),
            generator=None
            if self._mllm is None
            else await RemoteGenerator.connect(
                self._mllm, connect_timeout_s=deadlines.connect_s, timeout_s=deadlines.generate_s, calls=calls
            ),
            image_source=source,
            image_reader=None
            if self._images is None
            else await RemoteImageReader.connect(
                self._images, connect_timeout_s=deadlines.connect_s, timeout_s=deadlines.images_s, calls=calls
            ),
            max_images=images.max_images,
            name_language=LanguageIdentifier.load().name_language,
            include_original=self._settings.output.include_original_response,
        )

    async def _connect(self, member: str) -> KafkaConnection:
        """Connect to Kafka under a name that this replica's successor will have, too; wait while no broker answers."""
        stream = self._settings.stream
        tries = AsyncRetrying(
            retry=retry_if_exception_type(BrokerUnavailableError),
            wait=wait_random_exponential(multiplier=stream.retry_initial_s, max=stream.retry_max_s),
            stop=stop_after_delay(stream.retry_give_up_s),
            before_sleep=lambda state: _log.warning(
                "no broker yet; trying again", reason=repr(state.outcome and state.outcome.exception())
            ),
            reraise=True,
        )
        return await tries(asyncio.to_thread, connect, self._settings.kafka, stream, member=member)
