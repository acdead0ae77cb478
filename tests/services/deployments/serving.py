"""Applications for the tests on a real Ray Serve. Replicas run in other processes: they write to files what they do."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from ray import serve

from protector_models.detectors.loaded_detector import ThreadedDetector
from protector_models.detoxification.detoxifier import ModelDetoxifier
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fakes import FakeTextEditor
from protector_models.moderation.images import ImageReading
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from services.deployments.calls import NamedHandle
from services.deployments.remote_ports import RemoteHarmDetector
from services.scaling.consumer_reports import LAG_RECORDS, PARTITIONS, PUBLISHED_RECORDS, WAITING_RECORDS
from services.settings import CallSettings, DeploymentSettings
from tests.builders import exchange
from tests.protector_models.open_image_reader import OpenFakeImageReader
from tests.protector_models.synchronous_detector import PlainDetector, load_threaded

BREAK = "break yourself"
"""A response that breaks the replica that scores it."""

QUICK = DeploymentSettings(num_cpus=0.1, health_check_period_s=1.0, health_check_timeout_s=20.0)


TARGET_LAG = 100


class BreakableDetector(PlainDetector):
    """Fails on everything once it has scored `BREAK`, like a model whose memory was damaged."""

    def __init__(self) -> None:
        self._broken = False

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange, or none."""
        self._broken = self._broken or any(item.response == BREAK for item in exchanges)
        if self._broken:
            return [ItemFailure(error="Broken", message="the model is broken") for _ in exchanges]
        return super().assess(exchanges)


DEADLY = b"deadly"
"""An image that ends the process that reads it."""


class MortalImageReader(OpenFakeImageReader):
    """Reads images of bytes other than `DEADLY`."""

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        """Read each image, or die."""
        if DEADLY in contents:
            os._exit(1)
        return await super().read(contents)


async def connect(application: str, deployment: str = "DetectorReplica") -> RemoteHarmDetector:
    """Connect to the detector of an application."""
    return await RemoteHarmDetector.connect(
        NamedHandle(application, deployment), connect_timeout_s=60, timeout_s=60, calls=CallSettings()
    )


class DrainingConsumer:
    """Asks its model once more while it drains, and writes down what it got."""

    def __init__(self, model: str, report: Path) -> None:
        self._model = model
        self._report = report

    async def identity(self) -> tuple[int, int]:
        """Return the process and the rank of this replica."""
        return os.getpid(), serve.get_replica_context().rank.rank

    async def close(self) -> None:
        """Score something, and write the number of results down."""
        outcomes = await (await connect(self._model)).assess([exchange(), exchange()])
        await asyncio.to_thread(self._report.write_text, str(len(outcomes)))


class LaggingConsumer:
    """Says that three times as many records wait in its two partitions as may."""

    async def identity(self) -> int:
        """Return the process of this replica."""
        return os.getpid()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return what a stream consumer reports."""
        return {LAG_RECORDS: 3.0 * TARGET_LAG, PARTITIONS: 2.0, PUBLISHED_RECORDS: 0.0, WAITING_RECORDS: 0.0}


def load_fake_detoxifier() -> ModelDetoxifier:
    """Load a detoxifier over the fake edit model."""
    return ModelDetoxifier(editor=FakeTextEditor(), generator=None, timeout_s=60.0)


def load_breakable() -> ThreadedDetector:
    """Load the detector that can break."""
    return load_threaded(BreakableDetector())


def refuse_to_load() -> ThreadedDetector:
    """Stand for weights that are not there."""
    raise FileNotFoundError("no such weights")
