"""Calls to a Ray Serve deployment, in batches and under deadlines.

A batch is cut into calls so that several replicas share it. Each call has a deadline of ours, because Serve's routing
has none, and ends for itself: what others gave is kept. Our deadline accuses nobody, since a call may spend it on
waiting for its turn: that it took too long from then on is for its replica to say. One whose replica could not be
reached is made again; one whose replica died is not, for something in it may be why (`services.persistence`).
"""

import asyncio
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from ray import serve
from ray.exceptions import NodeDiedError, RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException, ReplicaUnavailableError

from protector_models.moderation.batch_cuts import split_by_size
from protector_models.moderation.errors import IncompleteError, ModelUnavailableError, SuspectBatchError
from protector_models.running.deadlines import within
from services.deployments.solitude import OccupiedError
from services.patience import Patience
from services.settings import CallSettings

_REPLICA_DIED = (RayActorError, NodeDiedError)
_NOT_TAKEN = (ReplicaUnavailableError, OccupiedError)
"""No replica has begun with the call: another one may take it, or the same one in a moment."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class ServeResponse(Protocol):
    """A call that is under way."""

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result."""

    def cancel(self) -> None:
        """Give the call up: a replica need not start it."""


class ServeHandle(Protocol):
    """What is used of Ray Serve's `DeploymentHandle`."""

    def options(self, *, method_name: str) -> "ServeHandle":
        """Return a handle that calls a method by name."""

    def remote(self, *args: object, **kwargs: object) -> ServeResponse:
        """Call the method on some replica; does not block."""


@dataclass(frozen=True, slots=True)
class NamedHandle:
    """A handle by name, to a deployment of another application that may start later. Implements `ServeHandle`."""

    application: str
    deployment: str

    def options(self, *, method_name: str) -> ServeHandle:
        """Return a handle that calls a method by name."""
        handle = serve.get_deployment_handle(self.deployment, self.application, _check_exists=False)
        return cast("ServeHandle", handle.options(method_name=method_name))

    def remote(self, *args: object, **kwargs: object) -> ServeResponse:
        """Call the deployment itself."""
        return self.options(method_name="__call__").remote(*args, **kwargs)


async def ask(handle: ServeHandle, method: str, *, timeout_s: float) -> Any:
    """Return what a method without arguments returns on some replica.

    Raises:
        ModelUnavailableError: no replica is there, it died, or it is late.
        Exception: whatever the method raised.
    """
    bound = handle.options(method_name=method)
    try:
        return await within(timeout_s, bound.remote, waiting_for=method)
    except RayTaskError:
        raise
    except (RayError, RayServeException) as error:
        raise ModelUnavailableError(f"{method}: {type(error).__name__}") from error


class ReplicaDiedError(SuspectBatchError):
    """The replica that took a call died before it had answered."""

    conviction = "KillsTheModel"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended(Generic[ResultT]):
    """How a call ended."""

    outcomes: Sequence[ResultT | None]
    """For each item; None where there is none."""
    error: ModelUnavailableError | None = None
    """Why some are not there."""


class Calls(Generic[ItemT, ResultT]):
    """Calls one method of a deployment with batches."""

    def __init__(
        self,
        handle: ServeHandle,
        method: str,
        *,
        timeout_s: float,
        settings: CallSettings,
        size: Callable[[ItemT], int],
        max_size: int,
        max_items: int,
        alone: bool = False,
    ) -> None:
        """Prepare calls; none is made.

        Args:
            handle: to the deployment.
            method: of its replicas; takes a list of items, the seconds that the caller still waits, and `alone`.
            timeout_s: how long a replica may work at one call. Its caller waits for as long again until one begins.
            settings: how many calls at the same time.
            size: of an item, in the unit of `max_size`.
            max_size: of all items of a call together; a larger item is a call of its own.
            max_items: of a call.
            alone: whether each call has a replica to itself.
        """
        self._handle = handle.options(method_name=method)
        self._method = method
        self._timeout_s = timeout_s
        self._alone = alone
        self._patience = Patience(initial_s=0.05, max_s=2)
        self._size = size
        self._max_size = max_size
        self._max_items = max_items
        self._turns = asyncio.Semaphore(settings.max_concurrent)

    async def map(self, items: Sequence[ItemT]) -> list[ResultT]:
        """Return a result for each item, in order.

        Raises:
            SuspectBatchError: replicas died, or say that they took too long or broke off.
            ModelUnavailableError: they are gone or busy.
            IncompleteError: some calls ended so; it holds what the others gave.
            Exception: whatever the deployment raised that is no `DependencyError`.
        """
        parts = split_by_size(
            [self._size(item) for item in items],
            max_size=self._max_size,
            max_items=self._max_items,
        )
        if len(parts) <= 1:
            return await self._call(items) if items else []
        try:
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(self._end(items[part])) for part in parts]
        except ExceptionGroup as faults:
            # The first fault cancelled the other calls; it stands for the batch.
            raise faults.exceptions[0] from None
        ended = [call.result() for call in calls]
        errors = [end.error for end in ended if end.error is not None]
        outcomes = [outcome for end in ended for outcome in end.outcomes]
        given = [outcome for outcome in outcomes if outcome is not None]
        if not errors:
            return given
        # One that may be an item's fault goes first: the items of all calls that failed are then looked at.
        cause = next((error for error in errors if isinstance(error, SuspectBatchError)), errors[0])
        raise IncompleteError(cause, outcomes) if given else cause

    async def _end(self, items: Sequence[ItemT]) -> "_Ended[ResultT]":
        try:
            return _Ended(outcomes=await self._call(items))
        except IncompleteError as error:
            return _Ended(outcomes=cast("Sequence[ResultT | None]", error.outcomes), error=error.cause)
        except ModelUnavailableError as error:
            return _Ended(outcomes=[None] * len(items), error=error)

    async def _call(self, items: Sequence[ItemT]) -> list[ResultT]:
        async with self._turns:
            return await self._call_now(items)

    async def _call_now(self, items: Sequence[ItemT]) -> list[ResultT]:
        begin_by_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            results: list[ResultT] = await self._patience.keep_trying(
                lambda: self._try(items, begin_by_s), after=_NOT_TAKEN
            )
        except RayTaskError as error:
            # Raised by the deployment's own code; first, because Ray makes it an instance of the cause's class, too.
            raise error.cause from error
        except _REPLICA_DIED as error:
            raise ReplicaDiedError(f"{self._method}: {type(error).__name__}") from error
        except (RayError, RayServeException) as error:
            raise ModelUnavailableError(f"{self._method}: {type(error).__name__}") from error
        if len(results) != len(items):
            raise RuntimeError(f"{self._method}: expected {len(items)} results, got {len(results)}")
        return results

    async def _try(self, items: Sequence[ItemT], begin_by_s: float) -> list[ResultT]:
        remaining_s = begin_by_s - asyncio.get_running_loop().time()
        if remaining_s > 0:
            # Once to wait for its turn, once for itself.
            remaining_s += self._timeout_s
        return await within(remaining_s, lambda: self._send(items, remaining_s), waiting_for=self._method)

    async def _send(self, items: Sequence[ItemT], remaining_s: float) -> list[ResultT]:
        extra = {"alone": True} if self._alone else {}
        response = self._handle.remote(list(items), remaining_s, **extra)
        try:
            results: list[ResultT] = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        return results
