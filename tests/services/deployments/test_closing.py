"""A replica that Serve has closed is not called ill by a check that comes late."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from protector_models.moderation.errors import ModelUnavailableError
from services.deployments.application import closing


class Closed:
    """What is of no use once it is closed."""

    def __init__(self) -> None:
        self.has_threads = True

    async def check_health(self) -> None:
        if not self.has_threads:
            raise ModelUnavailableError("no threads")

    async def close(self) -> None:
        self.has_threads = False


class Plain:
    """What has no check of its own."""

    async def close(self) -> None:
        pass


@pytest.fixture
def start() -> Iterator[Callable[[type], Any]]:
    """Starts a replica of a class, as Serve does."""
    replicas: list[Any] = []

    def start_replica(deployed: type) -> Any:
        replicas.append(closing(deployed)())
        return replicas[-1]

    yield start_replica
    for replica in replicas:
        # Serve awaits what it returns; the garbage collector would not.
        del type(replica).__del__


async def test_a_check_after_the_close_finds_nothing(start: Callable[[type], Any]) -> None:
    replica = start(Closed)
    await replica.__del__()
    await replica.check_health()


async def test_a_check_before_the_close_is_the_classs_own(start: Callable[[type], Any]) -> None:
    replica = start(Closed)
    await replica.check_health()
    replica.has_threads = False
    with pytest.raises(ModelUnavailableError):
        await replica.check_health()


async def test_a_class_without_a_check_stays_well(start: Callable[[type], Any]) -> None:
    replica = start(Plain)
    await replica.check_health()
    await replica.__del__()
    await replica.check_health()
