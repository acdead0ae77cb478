"""A real Redis for the tests that are marked `redis`."""

import os
from collections.abc import Iterator

import pytest

from services.stores.local_redis import LocalRedis


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Where a Redis is that all tests share: the one that WEIR_TEST_REDIS names, else one that is started."""
    named = os.environ.get("WEIR_TEST_REDIS")
    if named:
        yield named
        return
    with LocalRedis() as server:
        yield server.url


@pytest.fixture
def redis_server() -> Iterator[LocalRedis]:
    """A Redis of the test's own, running, which it may stop and start."""
    with LocalRedis() as server:
        yield server
