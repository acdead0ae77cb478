"""Calls to a Ray Serve deployment, in batches and under deadlines.

A batch is cut into calls so that several replicas share it. Each call has a deadline of ours, because Serve's routing
has none, and is made again where the replica that took it died: models only compute, so that is safe.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from ray import serve
from ray.exceptions import NodeDiedError, RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException, ReplicaUnavailableError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from protector_models.deadlines import within
from protector_models.moderation.errors import DependencyError, ModelUnavailableError
from services.settings import CallSettings
from services.splitting import split_by_size

_REPLICA_DIED = (RayActorError, NodeDiedError)
_REPLICA_GONE = (*_REPLICA_DIED, ReplicaUnavailableError)
"""The replica died, or cannot be reached: another one may take the call."""

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

    def remote(self, *args: object) -> ServeResponse:
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

    def remote(self, *args: object) -> ServeResponse:
        """Call the deployment itself."""
        return self.options(method_name="__call__").remote(*args)


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


class ReplicaDiedError(ModelUnavailableError):
    """Every replica that took a call died before it had answered."""


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
    ) -> None:
        """Prepare calls; none is made.

        Args:
            handle: to the deployment.
            method: of its replicas; takes a list of items and the seconds that the caller still waits.
            timeout_s: how long one call may take, all tries included.
            settings: how many calls at the same time, and how often one is made.
            size: of an item, in the unit of `max_size`.
            max_size: of all items of a call together; a larger item is a call of its own.
            max_items: of a call.
        """
        self._handle = handle.options(method_name=method)
        self._method = method
        self._timeout_s = timeout_s
        self._settings = settings
        self._size = size
        self._max_size = max_size
        self._max_items = max_items
        self._turns = asyncio.Semaphore(settings.max_concurrent)

    async def map(self, items: Sequence[ItemT]) -> list[ResultT]:
        """Return a result for each item, in order.

        Raises:
            ModelUnavailableError: replicas are gone, or late.
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
                calls = [group.create_task(self._call(items[part])) for part in parts]
        except ExceptionGroup as failures:
            # The first failure cancelled the other calls; it stands for the batch.
            raise failures.exceptions[0] from None
        return [result for call in calls for result in call.result()]

    async def _call(self, items: Sequence[ItemT]) -> list[ResultT]:
        async with self._turns:
            return await self._call_now(items)

    async def _call_now(self, items: Sequence[ItemT]) -> list[ResultT]:
        ends_at_s = time.monotonic() + self._timeout_s
        tries = AsyncRetrying(
            stop=stop_after_attempt(self._settings.max_attempts),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            retry=retry_if_exception_type(_REPLICA_GONE),
            reraise=True,
        )
        try:
            results: list[ResultT] = await tries(self._try, items, ends_at_s)
        except RayTaskError as error:
            # Raised by the deployment's own code; first, because Ray makes it an instance of the cause's class, too.
            if isinstance(error.cause, DependencyError):
                raise ModelUnavailableError(f"{self._method}: {error.cause}") from error
            raise error.cause from error
        except _REPLICA_DIED as error:
            raise ReplicaDiedError(f"{self._method}: {type(error).__name__}") from error
        except (RayError, RayServeException) as error:
            raise ModelUnavailableError(f"{self._method}: {type(error).__name__}") from error
        if len(results) != len(items):
            raise RuntimeError(f"{self._method}: expected {len(items)} results, got {len(results)}")
        return results

    async def _try(self, items: Sequence[ItemT], ends_at_s: float) -> list[ResultT]:
        remaining_s = ends_at_s - time.monotonic()
        return await within(remaining_s, lambda: self._send(items, remaining_s), waiting_for=self._method)

    async def _send(self, items: Sequence[ItemT], remaining_s: float) -> list[ResultT]:
        response = self._handle.remote(list(items), remaining_s)
        try:
            results: list[ResultT] = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        return results
