"""A stream consumer in a Ray Serve replica: a Kafka connection, and a Moderator whose models are other deployments."""

import asyncio
import gc
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Protocol

import structlog

from pipelines.settings import WeirSettings
from pipelines.streaming.kafka.connection import KafkaConnection, connect
from pipelines.streaming.kafka.topic_limits import check_topics
from pipelines.streaming.processing import RecordProcessor
from pipelines.streaming.runaway_limit import RunawayDeadLettersError
from pipelines.streaming.versions import versions_in_use
from pipelines.streaming.worker import StreamWorker
from protector_models.moderation.errors import BrokerUnavailableError, WeirError
from protector_models.moderation.policy.policy import Policy
from services.counters.replica_counters import RayMetrics
from services.deployments.calls import ServeHandle
from services.deployments.model_rows import connect_models
from services.logs import configure_logs
from services.moderators import open_moderator, verdict_cache
from services.patience import Patience, report_tries
from services.persistent_ports import ask_persistently
from services.policy_reload import PoliciesInForce
from services.scaling.consumer_reports import LAG_RECORDS, PARTITIONS, PUBLISHED_RECORDS, WAITING_RECORDS

_log = structlog.get_logger(__name__)

_GC_THRESHOLDS = (100_000, 50, 100)


class ConsumerStuckError(WeirError):
    """The worker does not poll any more, or was cancelled by nobody who may."""


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
        handles: Mapping[str, ServeHandle],
        shadow_policy: Policy | None = None,
    ) -> None:
        """Put a consumer together; `reconfigure`, which Serve calls next, starts it. It has a process of its own.

        Args:
            settings: of the whole application.
            policy: turns assessments into actions, unless the file that the settings name has another one by now.
            handles: to the models that are configured, by the names of their rows. Without images every image is
                unread, without detoxifier responses are rewritten by methods that need no model only, and without mllm
                events that have no response are dead letters.
            shadow_policy: decides beside it, and changes nothing.
        """
        configure_logs(settings.log)
        # Records in flight are many small objects that die by themselves; looking through them all the time for cycles
        # cost a seventh of the throughput of cached events.
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        self._settings = settings
        self._policy = policy
        self._shadow_policy = shadow_policy
        self._policies: PoliciesInForce | None = None
        self._handles = handles
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
        """Return what the consumer is doing; `member` is its rank, and `stopped` says why it works no more.

        `policy` is the revision in force; None before it connects.
        """
        error = self._error()
        stopped = None if error is None else f"{type(error).__name__}: {error}"
        worker = {} if self._worker is None else asdict(self._worker.status())
        policy = None if self._policies is None else self._policies.policy.revision
        connected = self._worker is not None
        return {"member": self._member, "connected": connected, "stopped": stopped, "policy": policy, **worker}

    async def check_health(self) -> None:
        """Raise where a new replica could do better.

        A worker that was stopped by a flood of dead letters stays stopped: a new one would only drown again.

        Raises:
            WeirError: the worker ended, was cancelled from within, or does not poll any more.
        """
        error = self._error()
        if error is not None and not isinstance(error, RunawayDeadLettersError):
            raise error
        if error is None and self._worker is not None and not self._closing:
            silent_s = self._worker.status().seconds_since_poll
            if silent_s > self._settings.stream.max_poll_interval_s:
                raise ConsumerStuckError(f"no poll for {silent_s:.0f} s")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return what this replica's partitions hold and what it has done; its deployment scales on it.

        Nothing while it does not work, or the broker does not answer: then the deployment's policy knows that it does
        not know.
        """
        worker = self._worker
        if worker is None or self._error() is not None:
            return {}
        try:
            lag = await worker.lag()
        except BrokerUnavailableError:
            return {}
        stream, lag_records = self._settings.stream, sum(lag.values())
        return {
            LAG_RECORDS: float(lag_records),
            PARTITIONS: float(len(lag)),
            PUBLISHED_RECORDS: float(worker.status().records_published),
            WAITING_RECORDS: float(max(0, lag_records - stream.concurrent_batches * stream.batch_max_records)),
        }

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
        if self._task is None or not self._task.done():
            return None
        if self._task.cancelled():
            # `close` cancels what it does not let come up; nobody else does, and no library should.
            return None if self._closing else ConsumerStuckError("the worker was cancelled by something in it")
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
        models = await connect_models(self._handles, settings.serve)
        policies = self._policies
        if policies is None:
            policies = PoliciesInForce(settings, self._policy, self._shadow_policy, metrics=metrics)
        policy = await policies.begin()
        self._policies = policies
        asked = ask_persistently(models, patience=_patience_with_models(settings, policy), metrics=metrics)
        moderator = await stack.enter_async_context(open_moderator(settings, policy, metrics, cache, asked))
        processor = RecordProcessor(
            moderator=policies.put_over(moderator),
            settings=settings.stream,
            versions=lambda: versions_in_use(policies.policy, models.by_name()),
            metrics=metrics,
        )
        await stack.enter_async_context(policies.watching(lambda: processor.use(policies.put_over(moderator))))
        connection = await self._connect(member)
        return StreamWorker(connection=connection, processor=processor, settings=settings.stream, metrics=metrics)

    async def _connect(self, member: str) -> KafkaConnection:
        """Connect to Kafka under a name that this replica's successor will have, too; wait while no broker answers."""
        stream = self._settings.stream
        return await Patience.from_settings(stream).keep_trying(
            partial(self._connect_once, member),
            after=BrokerUnavailableError,
            report=report_tries(_log, "no broker yet; trying again"),
        )

    async def _connect_once(self, member: str) -> KafkaConnection:
        """Connect; where the rank changes meanwhile, what comes up all the same is closed before another is opened."""
        stream = self._settings.stream
        connecting = asyncio.ensure_future(asyncio.to_thread(self._open_connection, member))
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            with suppress(WeirError):
                connection = await connecting
                await asyncio.to_thread(connection.close, timeout_s=stream.drain_timeout_s)
            raise

    def _open_connection(self, member: str) -> KafkaConnection:
        """See what the topics take, and connect; blocks.

        Raises:
            ConfigurationError: dead letters would be refused, or kafka-python refuses the settings.
            BrokerUnavailableError: no broker answers.
        """
        check_topics(self._settings.kafka, self._settings.stream)
        return connect(self._settings.kafka, self._settings.stream, member=member)


def _patience_with_models(settings: WeirSettings, policy: Policy) -> Patience:
    """Return how long a model is waited for within a batch; one that does not go on without it is tried again."""
    patience = Patience.from_settings(settings.stream)
    if not policy.goes_on_without_models():
        return patience
    return replace(patience, give_up_s=min(settings.stream.open_after_s, settings.stream.retry_give_up_s))
