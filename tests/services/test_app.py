"""What replicas are given, without starting Ray."""

import threading

import pytest

from protector_models.settings import DetectorSettings
from services.app import detector_loader
from services.settings import DeploymentSettings
from tests.builders import exchange


def _engine_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("window-scorer")}


@pytest.mark.parametrize(
    ("num_cpus", "num_threads", "expected"), [(3.0, None, 3), (0.5, None, 1), (2.9, None, 2), (1.0, 2, 2)]
)
async def test_the_engine_computes_on_as_many_threads_as_the_deployment_has_cpus(
    num_cpus: float, num_threads: int | None, expected: int
) -> None:
    settings, deployment = DetectorSettings(num_threads=num_threads), DeploymentSettings(num_cpus=num_cpus)
    before = _engine_threads()

    detector = detector_loader(settings, deployment, assess_timeout_s=60.0)()
    await detector.assess([exchange("word " * 150, prompt=f"number {index}") for index in range(8)])

    assert len(_engine_threads() - before) == expected
    await detector.close()
