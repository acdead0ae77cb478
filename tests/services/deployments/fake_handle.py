"""A handle to a deployment that is a plain object in this process."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass
class FakeDeployment:
    """What stands behind the handles, and what was done with them."""

    replica: object
    failures: list[Exception] = field(default_factory=list)
    """Raised by the next calls, one each, instead of calling the replica."""
    hangs: bool = False
    """Let calls begin and never end."""
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    """The arguments of every call."""
    cancelled: int = 0
    """How many calls were given up."""


class CountsCancelled(Protocol):
    """What notes how many calls were given up."""

    cancelled: int


class FakeResponse:
    """A call that is under way."""

    def __init__(self, deployment: CountsCancelled, call: Callable[[], Awaitable[Any]]) -> None:
        self._deployment = deployment
        self._call = call

    def __await__(self) -> Generator[Any, None, Any]:
        return self._call().__await__()

    def cancel(self) -> None:
        """Note that nobody waits any more."""
        self._deployment.cancelled += 1


class FakeHandle:
    """A handle to a method of the deployment. Implements `ServeHandle`."""

    def __init__(self, deployment: FakeDeployment, method: str = "__call__") -> None:
        self._deployment = deployment
        self._method = method

    def options(self, *, method_name: str) -> "FakeHandle":
        """Return a handle to another method."""
        return FakeHandle(self._deployment, method_name)

    def remote(self, *args: object, **kwargs: object) -> FakeResponse:
        """Call the method when the response is awaited."""
        self._deployment.calls.append(args)

        async def call() -> Any:
            if self._deployment.hangs:
                await asyncio.Event().wait()
            if self._deployment.failures:
                raise self._deployment.failures.pop(0)
            return await getattr(self._deployment.replica, self._method)(*args, **kwargs)

        return FakeResponse(self._deployment, call)
