"""Ray Serve for the tests that are marked `ray`: started once, for all of them."""

from collections.abc import Iterator

import pytest

from services.deployments.application import shutdown, start_serve
from services.settings import ServeSettings


@pytest.fixture(scope="session")
def ray_serve() -> Iterator[None]:
    """Ray and Ray Serve on this machine; everything that was deployed is stopped in the end."""
    start_serve(ServeSettings())
    try:
        yield
    finally:
        shutdown(name="none")
