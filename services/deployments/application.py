"""Deployments bound to their settings, and the application started and stopped on Ray Serve."""

import logging
import math
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol, cast

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.context import _get_global_client
from ray.serve.schema import LoggingConfig

from protector_models.moderation.errors import ConfigurationError
from services.configuration import ModerationSettings
from services.deployments.calls import ServeHandle
from services.deployments.ingress import choose_ingress
from services.deployments.model_rows import MODEL_ROWS, ModelRow
from services.http.settings import HttpSettings
from services.scaling.deployment_scaling import scaling_options
from services.settings import DeploymentSettings, ServeSettings

_OBJECT_STORE_BYTES = 256 * 1024 * 1024
"""Texts are small and travel with the call; an image stands here while it is read. Ray would take a third of the
memory."""

_DRAIN_POLL_S = 0.1
"""How often a replica that stops looks whether its last call has ended."""

_IS_CLOSED = "_is_closed"

_SERVE_LOGGING = LoggingConfig(log_level="WARNING", enable_access_log=False)


class Closable(Protocol):
    """A deployment's class that has something to finish."""

    async def close(self) -> None:
        """Finish; called once the replica has answered all its calls, within `graceful_shutdown_timeout_s`."""


def deploy(deployed: type, settings: DeploymentSettings, *arguments: object, **named: object) -> Application:
    """Bind a class to its deployment. Arguments may be applications: the replica gets handles to them.

    A class with `close` (see `Closable`) has it awaited when a replica stops gracefully: at a scale-down, an update, or
    the end of the application; not when it is killed. One that builds an ASGI application answers HTTP with it.
    """
    options: dict[str, Any] = {
        "name": deployed.__name__,
        "max_ongoing_requests": settings.max_ongoing_requests,
        "ray_actor_options": {
            "num_cpus": settings.num_cpus,
            "num_gpus": settings.num_gpus,
            "resources": dict(settings.resources),
        },
        "graceful_shutdown_timeout_s": settings.graceful_shutdown_timeout_s,
        "graceful_shutdown_wait_loop_s": _DRAIN_POLL_S,
        "health_check_period_s": settings.health_check_period_s,
        "health_check_timeout_s": settings.health_check_timeout_s,
        **scaling_options(settings),
    }
    shell = closing(deployed) if hasattr(deployed, "close") else deployed
    if hasattr(deployed, "__serve_build_asgi_app__"):
        shell = serve.ingress()(shell)
    return serve.deployment(**options)(shell).bind(*arguments, **named)


def bind_model(row: ModelRow, settings: ModerationSettings) -> Application:
    """Bind a model that is configured."""
    return deploy(row.replica, row.deployment(settings.serve), row.loader(settings))


def start_serve(settings: ServeSettings, *, http: HttpSettings | None = None, show_replica_logs: bool = False) -> None:
    """Connect to Ray, or start it on this machine, and start Ray Serve on it. Nothing happens where both run already.

    Args:
        settings: which Ray.
        http: where Serve listens, and with what; None: nowhere. A Ray that runs already does as it was told then: the
            front's replicas refuse another ingress than theirs.
        show_replica_logs: print what replicas log on this process's standard error, too.

    Raises:
        ConfigurationError: there is no Ray at the address, or the environment asks for another ingress.
    """
    if not ray.is_initialized():
        _start_ray(settings, http=http, show_replica_logs=show_replica_logs)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(
        proxy_location=ProxyLocation.Disabled if http is None else ProxyLocation.HeadOnly,
        http_options=None if http is None else _http_options(http),
        logging_config=_SERVE_LOGGING,
    )


def _http_options(http: HttpSettings) -> HTTPOptions:
    tls = http.tls
    if tls is None:
        return HTTPOptions(host=http.host, port=http.port)
    return HTTPOptions(
        host=http.host,
        port=http.port,
        # The proxy is a process with a working directory of its own.
        ssl_certfile=str(tls.certificate_file.absolute()),
        ssl_keyfile=str(tls.key_file.absolute()),
        ssl_keyfile_password=None if tls.key_password is None else tls.key_password.get_secret_value(),
    )


def require_listening(http: HttpSettings) -> None:
    """Refuse a Ray Serve that answers no HTTP, or no HTTPS, because whoever started it wanted none.

    Raises:
        ConfigurationError: it is one.
    """
    client = _get_global_client()
    if http.tls is not None and (client is None or client.http_config.ssl_certfile is None):
        raise ConfigurationError(
            "http.tls: Ray Serve ran before and answers plain HTTP; expected it to have been started with a certificate"
        )
    if not serve.status().proxies:
        raise ConfigurationError(
            "http: Ray Serve ran before and listens nowhere; expected it to have been started with proxy_location "
            "HeadOnly or EveryNode"
        )


def run_application(
    application: Application,
    *,
    name: str,
    models: Mapping[str, Application] | None = None,
    routes: Mapping[str, str] | None = None,
) -> ServeHandle:
    """Deploy an application and wait until all its deployments are up; one of that name is updated.

    Args:
        application: what to deploy.
        name: its name.
        models: applications that are deployed beside it, by name; it reaches them through `NamedHandle`. An application
            loses all its deployments at once when it stops, so what must outlive the draining of another is its own.
        routes: the prefixes of the paths of those that answer HTTP, by their names.

    Returns:
        A handle to the first deployment of the application.

    Raises:
        ConfigurationError: one could not be started; the message ends with the error of the replica that failed.
    """
    applications = {**(models or {}), name: application}
    prefixes = routes or {}
    targets = [
        serve.RunTarget(target=target, name=name, route_prefix=prefixes.get(name), logging_config=_SERVE_LOGGING)
        for name, target in applications.items()
    ]
    try:
        handles = serve.run_many(targets)
    except RuntimeError as error:
        reasons = "; ".join(_startup_failures(applications)) or str(error)
        raise ConfigurationError(f"{', '.join(applications)}: could not be started: {reasons}") from error
    return cast("ServeHandle", handles[-1])


def shutdown(*, name: str, models: Collection[str] = ()) -> None:
    """Stop an application gracefully, then the models beside it, then Ray where this process started it.

    Each may take up to a minute while its replicas drain. Serve itself goes with Ray; on a cluster it stays, as others
    may use it. May be called twice, and after a start that failed half-way.
    """
    if not ray.is_initialized():
        return
    running = serve.status().applications
    for stopping in (name, *models):
        if stopping in running:
            serve.delete(stopping)
    ray.shutdown()


def _start_ray(settings: ServeSettings, *, http: HttpSettings | None, show_replica_logs: bool) -> None:
    # Ray reads these when it starts; nothing else of this process does. Whoever set them knows better.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Else each replica, waiting or not, and the controller wake up ten times a second.
    os.environ.setdefault("RAY_SERVE_METRICS_EXPORT_INTERVAL_MS", "1000")
    os.environ.setdefault("RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "0.3")
    # It warns that it protects itself with a token.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    common: dict[str, Any] = {"logging_level": logging.WARNING, "log_to_driver": show_replica_logs}
    if settings.address is None:
        if http is not None:
            choose_ingress(http)
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            num_cpus=max(os.cpu_count() or 1, _count_cpus(settings, with_http=http is not None)),
            **common,
        )
        return
    try:
        ray.init(address=settings.address, **common)
    except ConnectionError as error:
        raise ConfigurationError(f"serve.address: expected a running Ray, got {settings.address!r}: {error}") from error


def _count_cpus(settings: ServeSettings, *, with_http: bool) -> int:
    """Return the CPUs that the smallest application asks for: a small machine shall share, not wait forever."""
    deployments = [*(row.deployment(settings) for row in MODEL_ROWS), settings.stream]
    if with_http:
        deployments.append(settings.http)
    return math.ceil(sum(deployment.num_cpus * deployment.min_replicas for deployment in deployments))


def _startup_failures(applications: Collection[str]) -> list[str]:
    """Return the last line of each error that kept a deployment of some applications from starting."""
    statuses = serve.status().applications
    return [
        f"{deployment}: {status.message.strip().splitlines()[-1]}"
        for name in applications
        if name in statuses
        for deployment, status in statuses[name].deployments.items()
        if status.status == "DEPLOY_FAILED" and status.message.strip()
    ]


def closing(deployed: type) -> type:
    """Return a subclass that Serve closes: at a graceful shutdown it awaits `__del__`, and nothing else.

    Serve may check a replica's health even then, one that has just started above all: what is closed is not ill.
    """
    check: Callable[[object], Awaitable[None]] | None = getattr(deployed, "check_health", None)

    def finish(self: Closable) -> Awaitable[None]:
        vars(self)[_IS_CLOSED] = True
        return self.close()

    async def check_health(self: object) -> None:
        if check is not None and _IS_CLOSED not in vars(self):
            await check(self)

    members = {"__del__": finish, "check_health": check_health, "__doc__": deployed.__doc__}
    return type(deployed.__name__, (deployed,), members)
