"""The model ports over handles to Ray Serve deployments.

A batch is cut into calls so that several replicas share it. Each call has a deadline of ours, because Serve's routing
has none, and is made again where the replica that took it died: models only compute, so that is safe.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from ray import serve
from ray.exceptions import NodeDiedError, RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException, ReplicaUnavailableError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from protector_models.deadlines import within
from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import DependencyError, ModelUnavailableError
from protector_models.moderation.images import ImageFault, ImageReading
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import Assessment, ItemFailure, Rewrite
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


class _ReplicaDiedError(ModelUnavailableError):
    """Every replica that took a call died before it had answered."""


class _Calls(Generic[ItemT, ResultT]):
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
            raise _ReplicaDiedError(f"{self._method}: {type(error).__name__}") from error
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


class _Revision:
    """The revision of the model behind a deployment, as far as is known."""

    def __init__(self, value: str) -> None:
        self.value = value

    def expect(self, seen: str) -> None:
        """Take note of a revision that was seen; outputs of one must not be cached under the name of another.

        Raises:
            ModelUnavailableError: it is a new one; what was asked under the old one must be asked again.
        """
        if seen != self.value:
            known, self.value = self.value, seen
            raise ModelUnavailableError(f"the deployment went from {known} to {seen}: try again under that revision")


class RemoteHarmDetector:
    """The harm detector behind a deployment. Implements `HarmDetector`."""

    def __init__(self, calls: _Calls[Exchange, Assessment | ItemFailure], *, revision: str) -> None:
        self._calls = calls
        self._revision = _Revision(revision)

    @classmethod
    async def connect(
        cls, handle: ServeHandle, *, connect_timeout_s: float, timeout_s: float, calls: CallSettings
    ) -> Self:
        """Ask the deployment for its revision; replicas may still be starting.

        Raises:
            ModelUnavailableError: they are not up in time.
        """
        revision = await ask(handle, "revision", timeout_s=connect_timeout_s)
        return cls(
            _text_calls(handle, "assess", _exchange_size, timeout_s=timeout_s, settings=calls), revision=revision
        )

    @property
    def revision(self) -> str:
        """The revision that scored last: it changes when the deployment gets a new model."""
        return self._revision.value

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange.

        Raises:
            ModelUnavailableError: replicas are gone or late, or have a new revision, under which to try again.
        """
        outcomes = await self._calls.map(exchanges)
        for outcome in outcomes:
            if isinstance(outcome, Assessment):
                self._revision.expect(outcome.detector)
        return outcomes


class RemoteImageReader:
    """What reads images, behind a deployment. Implements `ImageReader`.

    An image takes a replica half a second and more: each is a call of its own. One that ends the process that reads it,
    which decoders may do, is a failure of its own too: else it would be tried again for ever, and its batch with it.
    """

    def __init__(self, handle: ServeHandle, *, timeout_s: float, settings: CallSettings, revision: str) -> None:
        def calls(max_attempts: int) -> _Calls[bytes, ImageReading | ItemFailure]:
            return _Calls(
                handle,
                "read",
                timeout_s=timeout_s,
                settings=settings.model_copy(update={"max_attempts": max_attempts}),
                size=len,
                max_size=settings.max_image_bytes,
                max_items=1,
            )

        self._first_calls = calls(1)
        self._further_calls = calls(max(1, settings.max_attempts - 1))
        self._one_suspect = asyncio.Lock()
        self._revision = _Revision(revision)

    @classmethod
    async def connect(
        cls, handle: ServeHandle, *, connect_timeout_s: float, timeout_s: float, calls: CallSettings
    ) -> Self:
        """Ask the deployment for its revision; replicas may still be starting.

        Raises:
            ModelUnavailableError: they are not up in time.
        """
        revision = await ask(handle, "revision", timeout_s=connect_timeout_s)
        return cls(handle, timeout_s=timeout_s, settings=calls, revision=revision)

    @property
    def revision(self) -> str:
        """The revision that read last: it changes when the deployment gets a new model."""
        return self._revision.value

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        """Read each image.

        Raises:
            ModelUnavailableError: replicas are gone or late, or have a new revision, under which to try again.
        """
        try:
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(self._read(content)) for content in contents]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        outcomes = [call.result() for call in calls]
        for outcome in outcomes:
            if isinstance(outcome, ImageReading):
                self._revision.expect(outcome.reader)
        return outcomes

    async def _read(self, content: bytes) -> ImageReading | ItemFailure:
        try:
            (outcome,) = await self._first_calls.map([content])
        except _ReplicaDiedError:
            # Perhaps of another image that it read at the same time. Suspects are tried one after the other.
            async with self._one_suspect:
                return await self._read_suspect(content)
        return outcome

    async def _read_suspect(self, content: bytes) -> ImageReading | ItemFailure:
        try:
            (outcome,) = await self._further_calls.map([content])
        except _ReplicaDiedError:
            message = "every process that was to read it died"
            return ItemFailure(error=ImageFault.TEXT_NOT_READ, message=message)
        return outcome


class RemoteDetoxifier:
    """The detoxifier behind a deployment. Implements `Detoxifier`."""

    def __init__(self, calls: _Calls[RewriteRequest, Rewrite | ItemFailure], *, revision: str) -> None:
        self._calls = calls
        self._revision = _Revision(revision)

    @classmethod
    async def connect(
        cls, handle: ServeHandle, *, connect_timeout_s: float, timeout_s: float, calls: CallSettings
    ) -> Self:
        """Ask the deployment for its revision; replicas may still be starting.

        Raises:
            ModelUnavailableError: they are not up in time.
        """
        revision = await ask(handle, "revision", timeout_s=connect_timeout_s)
        return cls(
            _text_calls(handle, "rewrite", _request_size, timeout_s=timeout_s, settings=calls), revision=revision
        )

    @property
    def revision(self) -> str:
        """The revision that wrote last: it changes when the deployment gets a new model."""
        return self._revision.value

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response.

        Raises:
            ModelUnavailableError: replicas are gone or late, or have a new revision, under which to try again.
        """
        outcomes = await self._calls.map(requests)
        for outcome in outcomes:
            if isinstance(outcome, Rewrite):
                self._revision.expect(outcome.detoxifier)
        return outcomes


class RemoteGenerator:
    """The MLLM behind a deployment. Implements `ResponseGenerator`."""

    def __init__(self, calls: _Calls[ConversationEvent, str | ItemFailure], *, revision: str) -> None:
        self._calls = calls
        self._revision = revision

    @classmethod
    async def connect(
        cls, handle: ServeHandle, *, connect_timeout_s: float, timeout_s: float, calls: CallSettings
    ) -> Self:
        """Ask the deployment for its revision; replicas may still be starting.

        Raises:
            ModelUnavailableError: they are not up in time.
        """
        revision = await ask(handle, "revision", timeout_s=connect_timeout_s)
        asked = _text_calls(handle, "generate", partial(_event_size, calls), timeout_s=timeout_s, settings=calls)
        return cls(asked, revision=revision)

    @property
    def revision(self) -> str:
        """The revision that was there when this was connected; answers do not name theirs."""
        return self._revision

    async def generate(self, events: Sequence[ConversationEvent]) -> list[str | ItemFailure]:
        """Answer each conversation.

        Raises:
            ModelUnavailableError: replicas or the endpoint are gone or late.
        """
        return await self._calls.map(events)


def _text_calls(
    handle: ServeHandle, method: str, size: Callable[[ItemT], int], *, timeout_s: float, settings: CallSettings
) -> _Calls[ItemT, Any]:
    """Return calls that are cut by characters of text."""
    return _Calls(
        handle,
        method,
        timeout_s=timeout_s,
        settings=settings,
        size=size,
        max_size=settings.max_characters,
        max_items=settings.max_items,
    )


def _exchange_size(exchange: Exchange) -> int:
    return len(exchange.question()) + len(exchange.response)


def _request_size(request: RewriteRequest) -> int:
    return _exchange_size(request.exchange)


def _event_size(calls: CallSettings, event: ConversationEvent) -> int:
    """Return the characters of an event's text, its images counted for the share of a call that they fill."""
    # In base64, 4 characters are 3 bytes.
    num_bytes = sum(len(reference) for reference in event.image_references()) * 3 // 4
    text = sum(len(message.text()) for message in event.messages)
    return text + num_bytes * calls.max_characters // calls.max_image_bytes
