"""The application on Ray Serve: stream consumers, HTTP front, and the models they call, from one configuration.

The front and each model are Serve applications of their own. Serve stops all deployments of an application at once, and
consumers that drain still need the models.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.exceptions import RayServeException

from pipelines.application.consumer import StreamConsumer
from pipelines.settings import WeirSettings, load_settings
from protector_models.moderation.errors import ConfigurationError
from services.deployments.application import bind_model, deploy, run_application, shutdown
from services.deployments.calls import ServeHandle
from services.deployments.http_front import HttpFront
from services.deployments.model_rows import DETECTOR, DETOXIFIER, IMAGES, MLLM, MODEL_ROWS, ModelRow, find_handles
from services.logs import configure_logs
from services.policies_in_force import load_policy_in_force, load_shadow_policy

APPLICATION = "weir"
HTTP_APPLICATION = "weir-http"
_HTTP_ROUTES = {HTTP_APPLICATION: "/"}


class ApplicationArguments(BaseModel):
    """The arguments in a Ray Serve configuration file (`args`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Path | None = None
    """Weir's configuration file, on the node that builds the application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerStatuses:
    """What the consumers say of themselves."""

    statuses: list[dict[str, object]]
    """As `StreamConsumer.status` gives them, those of the lower ranks first."""
    silent: list[str]
    """For each consumer that did not answer, or where none could be asked, why not: a class of error."""


class Broadcasts(Protocol):
    """What is used of Ray Serve's `DeploymentHandle` to reach all replicas."""

    def broadcast(self, method_name: str) -> Any:
        """Call a method on every replica that runs; returns a `DeploymentBroadcastResponse`."""


class ConsumersHandle(ServeHandle, Broadcasts, Protocol):
    """A handle to the consumers: to one of them, or to all."""


def run(settings: WeirSettings) -> ConsumersHandle:
    """Deploy models, consumers and where it is configured the HTTP front on the Ray Serve that runs, until they are up.

    Returns:
        A handle to the consumers.

    Raises:
        ConfigurationError: the policy cannot be used, or something could not be started.
    """
    beside = _bind_models(settings)
    if settings.http is not None:
        beside[HTTP_APPLICATION] = _bind_front(settings)
    consumers = run_application(_bind_consumers(settings), name=APPLICATION, models=beside, routes=_HTTP_ROUTES)
    return cast("ConsumersHandle", consumers)


def run_http_only(settings: WeirSettings) -> None:
    """Deploy models and the HTTP front on the Ray Serve that runs, and wait until they are up.

    Raises:
        ConfigurationError: the policy cannot be used, or something could not be started, or no front is configured.
    """
    front = _bind_front(settings)
    run_application(front, name=HTTP_APPLICATION, models=_bind_models(settings), routes=_HTTP_ROUTES)


def ask_consumers(handle: Broadcasts, *, timeout_s: float) -> ConsumerStatuses:
    """Ask every consumer that runs what it is doing: one that has stopped must not hide behind the others.

    Args:
        handle: to the consumers.
        timeout_s: how long they may take together.
    """
    try:
        answers = handle.broadcast("status").results(timeout_s=timeout_s, return_exceptions=True)
    except (RayError, RayServeException, TimeoutError) as error:
        return ConsumerStatuses(statuses=[], silent=[type(error).__name__])
    statuses = [answer for answer in answers if isinstance(answer, dict)]
    return ConsumerStatuses(
        statuses=sorted(statuses, key=lambda status: str(status["member"])),
        silent=[type(answer).__name__ for answer in answers if not isinstance(answer, dict)],
    )


def describe_front() -> str:
    """Return how Serve finds the HTTP front, such as "RUNNING"; "gone" where it has none."""
    front = serve.status().applications.get(HTTP_APPLICATION)
    return "gone" if front is None else str(front.status.value)


def stop() -> None:
    """Let the consumers drain, then the HTTP front, then stop everything. May be called twice."""
    shutdown(name=APPLICATION, models=[HTTP_APPLICATION, *(row.application for row in MODEL_ROWS)])


def build(arguments: ApplicationArguments) -> Application:
    """Return the consumers for `serve deploy`."""
    return _bind_consumers(_settings(arguments))


def build_http(arguments: ApplicationArguments) -> Application:
    """Return the HTTP front for `serve deploy`.

    Raises:
        ConfigurationError: it is not configured, or is to answer HTTPS, which is for Serve's own configuration to say.
    """
    settings = _settings(arguments)
    if settings.http is not None and settings.http.tls is not None:
        raise ConfigurationError("http.tls: expected null with serve deploy; name the files in Serve's http_options")
    return _bind_front(settings)


def build_images(arguments: ApplicationArguments) -> Application:
    """Return the image reader for `serve deploy`.

    Raises:
        ConfigurationError: it is switched off.
    """
    return _build_model(IMAGES, arguments)


def build_detector(arguments: ApplicationArguments) -> Application:
    """Return the detector for `serve deploy`."""
    return _build_model(DETECTOR, arguments)


def build_detoxifier(arguments: ApplicationArguments) -> Application:
    """Return the detoxifier for `serve deploy`.

    Raises:
        ConfigurationError: it is switched off.
    """
    return _build_model(DETOXIFIER, arguments)


def build_mllm(arguments: ApplicationArguments) -> Application:
    """Return the MLLM for `serve deploy`.

    Raises:
        ConfigurationError: none is configured.
    """
    return _build_model(MLLM, arguments)


def _build_model(row: ModelRow, arguments: ApplicationArguments) -> Application:
    settings = _settings(arguments)
    if not row.is_configured(settings):
        raise ConfigurationError(f"{row.application}: is switched off in the configuration; take its application out")
    return bind_model(row, settings)


def _bind_models(settings: WeirSettings) -> dict[str, Application]:
    return {row.application: bind_model(row, settings) for row in MODEL_ROWS if row.is_configured(settings)}


def _bind_front(settings: WeirSettings) -> Application:
    if settings.http is None:
        raise ConfigurationError(f"{HTTP_APPLICATION}: http is not in the configuration; take its application out")
    policy, settings = load_policy_in_force(settings), _for_replicas(settings)
    shadow, handles = load_shadow_policy(settings), find_handles(settings)
    arguments = (settings, settings.http, policy)
    return deploy(HttpFront, settings.serve.http, *arguments, handles=handles, shadow_policy=shadow)


def _bind_consumers(settings: WeirSettings) -> Application:
    policy, settings = load_policy_in_force(settings), _for_replicas(settings)
    shadow, handles = load_shadow_policy(settings), find_handles(settings)
    return deploy(StreamConsumer, settings.serve.stream, settings, policy, handles=handles, shadow_policy=shadow)


def _for_replicas(settings: WeirSettings) -> WeirSettings:
    """Return settings that name policy files as replicas find them, whatever folder they work in."""
    files = {"policy": settings.policy, "shadow_policy": settings.shadow_policy}
    return settings.model_copy(update={name: path and path.absolute() for name, path in files.items()})


def _settings(arguments: ApplicationArguments) -> WeirSettings:
    settings = load_settings(arguments.config)
    configure_logs(settings.log)
    return settings
