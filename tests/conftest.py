"""Loads what tests share: servers, workers, and how hypothesis draws its examples."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

pytest_plugins = [
    "tests.examples",
    "tests.garbage",
    "tests.kafka_server",
    "tests.redis_server",
    "tests.unwanted_modules",
    "tests.workers",
]


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what writes a family's tiny checkpoint, once for all tests, and returns its configuration beside it."""
    root = tmp_path_factory.mktemp("tiny")

    @lru_cache
    def write(name: str) -> Path:
        from protector_models.tiny_checkpoints.folders import list_families, write_quietly  # noqa: PLC0415  # torch

        (written,) = write_quietly([family for family in list_families() if family.name == name], root)
        return written.config

    return write
