"""A deployment of one replica that dies of what it is given, with all that was asked of it; another one then starts."""

import asyncio
from collections.abc import Callable
from typing import Any

from ray.exceptions import ActorDiedError

from tests.services.deployments.fake_handle import FakeResponse


class MortalDeployment:
    """What stands behind handles. Models of its replicas call `die`."""

    def __init__(self, start: Callable[["MortalDeployment"], object]) -> None:
        """Start the first replica.

        Args:
            start: makes a replica for this deployment.
        """
        self._start = start
        self.deaths = 0
        self._restart()

    def _restart(self) -> None:
        self.replica = self._start(self)
        self.death = asyncio.Event()

    async def die(self) -> None:
        """End the replica, and whoever calls this with it."""
        self.deaths += 1
        self.death.set()
        self._restart()
        await asyncio.Event().wait()


class MortalHandle:
    """A handle to a method of the deployment. Implements `ServeHandle`."""

    def __init__(self, deployment: MortalDeployment, method: str = "__call__") -> None:
        self._deployment = deployment
        self._method = method
        self.cancelled = 0

    def options(self, *, method_name: str) -> "MortalHandle":
        """Return a handle to another method."""
        return MortalHandle(self._deployment, method_name)

    def remote(self, *args: object, **kwargs: object) -> FakeResponse:
        """Call the method when the response is awaited."""

        async def call() -> Any:
            # On its way.
            await asyncio.sleep(0)
            death = asyncio.create_task(self._deployment.death.wait())
            work = asyncio.create_task(getattr(self._deployment.replica, self._method)(*args, **kwargs))
            try:
                await asyncio.wait([work, death], return_when=asyncio.FIRST_COMPLETED)
                if death.done():
                    raise ActorDiedError
                return work.result()
            finally:
                work.cancel()
                death.cancel()

        return FakeResponse(self, call)
