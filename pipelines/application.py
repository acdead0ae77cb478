"""The application on Ray Serve: models and stream consumers, each a deployment, from one configuration."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from ray.serve import Application

from pipelines.logs import configure_logs
from pipelines.settings import WeirSettings, load_settings
from pipelines.streaming.consumer import StreamConsumer
from protector_models.harm_detector import SHIPPED_WEIGHTS
from protector_models.policy_file import load_policy
from services.app import bind_detector, bind_detoxifier, bind_mllm, deploy

APPLICATION = "weir"
"""The application's name in Ray Serve."""


class ApplicationArguments(BaseModel):
    """The arguments in a Ray Serve configuration file (`args`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Path | None = None
    """Weir's configuration file, on the node that builds the application."""


def build(arguments: ApplicationArguments) -> Application:
    """Return the application for `serve deploy` (`import_path: pipelines.application:build`).

    Raises:
        ConfigurationError: the configuration cannot be used.
    """
    settings = load_settings(arguments.config)
    configure_logs(settings.log)
    return build_application(settings)


def build_application(settings: WeirSettings) -> Application:
    """Bind models and consumers together; nothing is started.

    Raises:
        ConfigurationError: the policy cannot be used.
    """
    serve = settings.serve
    detoxifier = bind_detoxifier(serve.detoxifier) if settings.detoxifier.kind == "safe_completion" else None
    mllm = bind_mllm(settings.mllm, serve.mllm) if settings.mllm.kind == "openai" else None
    return deploy(
        StreamConsumer,
        serve.stream,
        settings,
        load_policy(settings.policy),
        detector=bind_detector(settings.detector, settings.detector.checkpoint or SHIPPED_WEIGHTS, serve.detector),
        detoxifier=detoxifier,
        mllm=mllm,
    )
