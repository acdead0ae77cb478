"""The models that have deployments, one row a model: all in which one differs from another stands in its row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from protector_models.detectors.choice import load_detector
from protector_models.detoxification.detoxifier import load_detoxifier
from protector_models.images.reader_on_demand import import_and_load_image_reader
from protector_models.mllms.mllm import load_mllm
from services.configuration import ModerationSettings
from services.deployments.calls import NamedHandle, ServeHandle
from services.deployments.remote_ports import (
    RemoteDetoxifier,
    RemoteGenerator,
    RemoteHarmDetector,
    RemoteImageReader,
    RemoteModel,
)
from services.deployments.replicas import DetectorReplica, DetoxifierReplica, ImageReaderReplica, MllmReplica
from services.model_ports import ModelPorts
from services.settings import DeploymentSettings, ModelDeadlines, ServeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model: how it is loaded, where it runs and how it is reached."""

    name: str
    """As in `model_revisions` of verdicts, and as its section of `serve`."""
    application: str
    """The Serve application in which it is alone: consumers that drain still need it."""
    is_configured: Callable[[ModerationSettings], bool]
    bind_load: Callable[[ModerationSettings], Callable[..., Any]]
    """Bind what loads the model to its own sections and no others, since they travel to its replicas. What comes out
    takes `num_threads` and `timeout_s`; checkpoints that it loads are on every node."""
    replica: type
    port: type[RemoteModel]
    deployment: Callable[[ServeSettings], DeploymentSettings]
    deadline_s: Callable[[ModelDeadlines], float]
    """How long one call may take."""

    def loader(self, settings: ModerationSettings) -> Callable[[], Any]:
        """Return what loads the model in a replica; it computes on as many threads as the replica has CPUs."""
        return partial(
            self.bind_load(settings),
            num_threads=max(1, int(self.deployment(settings.serve).num_cpus)),
            timeout_s=self.deadline_s(settings.serve.deadlines),
        )

    def handle(self) -> ServeHandle:
        """Return a handle to the deployment, which may start later."""
        return NamedHandle(self.application, self.replica.__name__)

    async def connect(self, handle: ServeHandle, settings: ServeSettings) -> Any:
        """Return the model's port over a handle; replicas may still be starting.

        Raises:
            ModelUnavailableError: they are not up in time.
        """
        return await self.port.connect(
            handle,
            connect_timeout_s=settings.deadlines.connect_s,
            timeout_s=self.deadline_s(settings.deadlines),
            calls=settings.calls,
        )


DETECTOR = ModelRow(
    name="detector",
    application="weir-detector",
    is_configured=lambda _: True,
    bind_load=lambda settings: partial(
        load_detector, settings.detector, concurrency=settings.serve.detector.concurrency
    ),
    replica=DetectorReplica,
    port=RemoteHarmDetector,
    deployment=lambda serve: serve.detector,
    deadline_s=lambda deadlines: deadlines.assess_s,
)

IMAGES = ModelRow(
    name="images",
    application="weir-images",
    is_configured=lambda settings: settings.images.read != "off",
    bind_load=lambda settings: partial(import_and_load_image_reader, settings.images),
    replica=ImageReaderReplica,
    port=RemoteImageReader,
    deployment=lambda serve: serve.images,
    deadline_s=lambda deadlines: deadlines.images_s,
)

DETOXIFIER = ModelRow(
    name="detoxifier",
    application="weir-detoxifier",
    is_configured=lambda settings: settings.detoxifier.has_models,
    bind_load=lambda settings: partial(load_detoxifier, settings.detoxifier),
    replica=DetoxifierReplica,
    port=RemoteDetoxifier,
    deployment=lambda serve: serve.detoxifier,
    deadline_s=lambda deadlines: deadlines.rewrite_s,
)

MLLM = ModelRow(
    name="mllm",
    application="weir-mllm",
    is_configured=lambda settings: settings.mllm.kind != "off",
    bind_load=lambda settings: partial(load_mllm, settings.mllm, images=settings.images),
    replica=MllmReplica,
    port=RemoteGenerator,
    deployment=lambda serve: serve.mllm,
    deadline_s=lambda deadlines: deadlines.generate_s,
)

MODEL_ROWS = (DETECTOR, IMAGES, DETOXIFIER, MLLM)


def find_handles(settings: ModerationSettings) -> dict[str, ServeHandle]:
    """Return a handle to each model that is configured, by the name of its row."""
    return {row.name: row.handle() for row in MODEL_ROWS if row.is_configured(settings)}


async def connect_models(handles: Mapping[str, ServeHandle], settings: ServeSettings) -> ModelPorts:
    """Connect to the models behind handles, as `find_handles` gives them; one that has none is switched off.

    Raises:
        ModelUnavailableError: replicas are not up in time.
    """
    ports = {row.name: await row.connect(handles[row.name], settings) for row in MODEL_ROWS if row.name in handles}
    return ModelPorts(
        detector=ports[DETECTOR.name],
        image_reader=ports.get(IMAGES.name),
        detoxifier=ports.get(DETOXIFIER.name),
        generator=ports.get(MLLM.name),
    )
