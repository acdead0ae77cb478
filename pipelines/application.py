"""The application on Ray Serve: stream consumers, and beside them the models they call, from one configuration.

Each model is a Serve application of its own. Serve stops all deployments of an application at once, and consumers that
drain still need the models.
"""

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from ray.serve import Application

from pipelines.composition import load_policy_in_force
from pipelines.logs import configure_logs
from pipelines.settings import WeirSettings, load_settings
from pipelines.streaming.consumer import StreamConsumer
from protector_models.moderation.errors import ConfigurationError
from services.app import (
    bind_detector,
    bind_detoxifier,
    bind_image_reader,
    bind_mllm,
    deploy,
    run_application,
    shutdown,
)
from services.remote_calls import NamedHandle, ServeHandle
from services.replicas import DetectorReplica, DetoxifierReplica, ImageReaderReplica, MllmReplica

APPLICATION = "weir"
IMAGES = "weir-images"
DETECTOR = "weir-detector"
DETOXIFIER = "weir-detoxifier"
MLLM = "weir-mllm"


class ApplicationArguments(BaseModel):
    """The arguments in a Ray Serve configuration file (`args`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Path | None = None
    """Weir's configuration file, on the node that builds the application."""


def run(settings: WeirSettings) -> ServeHandle:
    """Deploy models and consumers on the Ray Serve that runs, and wait until they are up.

    Returns:
        A handle to the consumers.

    Raises:
        ConfigurationError: the policy cannot be used, or something could not be started.
    """
    models = {name: bind(settings) for name, bind in _models(settings).items()}
    return run_application(_bind_consumers(settings), name=APPLICATION, models=models)


def stop() -> None:
    """Let the consumers drain, then stop everything. May be called twice."""
    shutdown(name=APPLICATION, models=(IMAGES, DETECTOR, DETOXIFIER, MLLM))


def build(arguments: ApplicationArguments) -> Application:
    """Return the consumers for `serve deploy`."""
    return _bind_consumers(_settings(arguments))


def build_images(arguments: ApplicationArguments) -> Application:
    """Return the image reader for `serve deploy`.

    Raises:
        ConfigurationError: it is switched off.
    """
    return _bind_configured(IMAGES, arguments)


def build_detector(arguments: ApplicationArguments) -> Application:
    """Return the detector for `serve deploy`."""
    return _bind_configured(DETECTOR, arguments)


def build_detoxifier(arguments: ApplicationArguments) -> Application:
    """Return the detoxifier for `serve deploy`.

    Raises:
        ConfigurationError: it is switched off.
    """
    return _bind_configured(DETOXIFIER, arguments)


def build_mllm(arguments: ApplicationArguments) -> Application:
    """Return the MLLM for `serve deploy`.

    Raises:
        ConfigurationError: none is configured.
    """
    return _bind_configured(MLLM, arguments)


def _bind_configured(name: str, arguments: ApplicationArguments) -> Application:
    settings = _settings(arguments)
    models = _models(settings)
    if name not in models:
        raise ConfigurationError(f"{name}: is switched off in the configuration; take its application out")
    return models[name](settings)


def _models(settings: WeirSettings) -> dict[str, Callable[[WeirSettings], Application]]:
    """Return how to bind each model that is configured, by the name of its application."""
    models: dict[str, Callable[[WeirSettings], Application]] = {
        DETECTOR: lambda chosen: bind_detector(
            chosen.detector, chosen.serve.detector, assess_timeout_s=chosen.serve.deadlines.assess_s
        )
    }
    if settings.images.read != "off":
        models[IMAGES] = lambda chosen: bind_image_reader(
            chosen.images, chosen.serve.images, read_timeout_s=chosen.serve.deadlines.images_s
        )
    if settings.detoxifier.has_models:
        models[DETOXIFIER] = lambda chosen: bind_detoxifier(
            chosen.detoxifier, chosen.serve.detoxifier, rewrite_timeout_s=chosen.serve.deadlines.rewrite_s
        )
    if settings.mllm.kind != "off":
        models[MLLM] = lambda chosen: bind_mllm(
            chosen.mllm, chosen.images, chosen.serve.mllm, generate_timeout_s=chosen.serve.deadlines.generate_s
        )
    return models


def _bind_consumers(settings: WeirSettings) -> Application:
    models = _models(settings)
    return deploy(
        StreamConsumer,
        settings.serve.stream,
        settings,
        load_policy_in_force(settings),
        detector=NamedHandle(DETECTOR, DetectorReplica.__name__),
        detoxifier=NamedHandle(DETOXIFIER, DetoxifierReplica.__name__) if DETOXIFIER in models else None,
        images=NamedHandle(IMAGES, ImageReaderReplica.__name__) if IMAGES in models else None,
        mllm=NamedHandle(MLLM, MllmReplica.__name__) if MLLM in models else None,
    )


def _settings(arguments: ApplicationArguments) -> WeirSettings:
    settings = load_settings(arguments.config)
    configure_logs(settings.log)
    return settings
