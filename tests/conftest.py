"""Loads the servers that tests share, and lets hypothesis draw the same examples in every run."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.kafka_server", "tests.redis_server"]

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("repeatable")


_TRAINING = (
    "tests/protector_models/training",
    "tests/protector_models/detectors/test_torch_window_scorer.py",
    "tests/protector_models/detectors/test_plain_encoder.py",
    "tests/protector_models/test_language_model.py",
    "tests/protector_models/detectors/test_classifier_detector.py",
    "tests/protector_models/guards/test_detector.py",
    "tests/protector_models/guards/test_loading.py",
    "tests/protector_models/mllms/test_vision_language_model.py",
    "tests/pipelines/commands/test_models_tiny.py",
    "tests/pipelines/bench/test_detector.py",
    "tests/pipelines/bench/test_detoxifier.py",
    "tests/pipelines/commands/test_evaluate_detoxifier.py",
    "tests/pipelines/commands/test_train.py",
    "tests/pipelines/commands/test_train_judges.py",
    "tests/pipelines/commands/test_train_detoxifier.py",
)
"""Tests marked `training`, as they import torch: where they are not wanted they are not even imported."""


def _trains(path: Path) -> bool:
    return any(part in path.as_posix() for part in _TRAINING)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests of training out where the marker expression does."""
    is_unwanted = "not training" in str(config.getoption("markexpr"))
    return True if is_unwanted and _trains(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of training."""
    for item in items:
        if _trains(item.path):
            item.add_marker(pytest.mark.training)


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
