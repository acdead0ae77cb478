"""`weir serve`: the application on Ray Serve, in the foreground."""

import logging
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from pipelines.commands.options import ConfigOption
from pipelines.settings import WeirSettings, load_settings
from protector_models.moderation.errors import BrokerUnavailableError, ConfigurationError, WeirError
from services.http.settings import HttpSettings
from services.http.tls import require_usable
from services.logs import configure_logs

if TYPE_CHECKING:
    from pipelines.application.deployment import Broadcasts

_log = structlog.get_logger(__name__)

_STATUS_TIMEOUT_S = 10.0


class ConsumerStoppedError(WeirError):
    """A consumer gave up and starting it again would not help."""


class _Terminated(BaseException):
    """SIGTERM."""


def serve(
    config: ConfigOption = None,
    create_topics: Annotated[
        int | None,
        typer.Option(
            "--create-topics", metavar="PARTITIONS", help="Make missing topics, with so many partitions.", min=1
        ),
    ] = None,
    http_only: Annotated[
        bool, typer.Option("--http-only", help="Serve HTTP alone: no Kafka and no topics are needed.")
    ] = False,
    status_interval_s: Annotated[
        float, typer.Option("--status-interval", metavar="SECONDS", help="Seconds between two status lines.", min=1)
    ] = 30.0,
) -> None:
    """Run the application: read conversations from Kafka, publish them moderated; answer HTTP where that is configured.

    Starts Ray on this machine unless serve.address names a cluster. Ctrl-C or SIGTERM drains: results in flight are
    published and committed, then everything stops.

    Ends with 0 after draining, 1 when a consumer gave up, 2 for a wrong configuration.
    """
    settings = load_settings(config)
    configure_logs(settings.log)
    if http_only:
        if create_topics is not None:
            raise ConfigurationError("--create-topics: expected no topics with --http-only")
        settings = settings.model_copy(update={"http": settings.http or HttpSettings()})
    signal.signal(signal.SIGTERM, _terminate)
    has_begun = False
    ray_thread = ThreadPoolExecutor(1, thread_name_prefix="ray")
    try:
        _log.info("weir is starting")
        _prepare_port(settings)
        if not http_only:
            _prepare_topics(settings, create_topics)
        has_begun = True
        consumers = _start(settings, ray_thread, http_only=http_only)
        _tell_address(settings)
        if consumers is None:
            _log.info("weir is up")
            _watch_front(status_interval_s)
        else:
            _log.info("weir is up", source=settings.stream.source_topic, sink=settings.stream.sink_topic)
            _watch(consumers, status_interval_s)
    except (KeyboardInterrupt, _Terminated):
        _log.info("draining")
    finally:
        # Said once is enough: the drain has its own bound.
        _ignore_signals()
        if has_begun:
            _stop()
        ray_thread.shutdown()
    _log.info("stopped")


def _start(settings: WeirSettings, ray_thread: Executor, *, http_only: bool) -> "Broadcasts | None":
    """Start Ray, and the application on it; return a handle to its consumers, None where it has none.

    Ray is imported and started on a thread of its own: on the main one it would put its own handler in the place of
    ours, and a signal in the middle of it would leave half of it running. So a signal is heeded once Ray has started.
    The thread must live as long as Ray: the kernel ends Ray's processes with the thread that has started them.
    """
    with _noting_signals() as noted:
        starting = ray_thread.submit(_start_ray, settings)
        wait([starting])
    if noted:
        raise _Terminated
    starting.result()
    # Imported here, not above: see `_start_ray`.
    from pipelines.application.deployment import run, run_http_only  # noqa: PLC0415
    from services.deployments.application import require_listening  # noqa: PLC0415

    if settings.http is not None:
        require_listening(settings.http)
    if http_only:
        run_http_only(settings)
        return None
    return run(settings)


def _start_ray(settings: WeirSettings) -> None:
    # Imported here, not above: Ray takes seconds, and every other command would pay for them.
    import pipelines.application.deployment  # noqa: F401, PLC0415  # what comes next, to be whole before a signal comes
    from services.deployments.application import start_serve  # noqa: PLC0415

    # It warns that it has no handler for SIGTERM.
    logging.getLogger("ray._private.worker").addFilter(lambda record: "SIGTERM handler" not in record.getMessage())
    start_serve(settings.serve, http=settings.http, show_replica_logs=True)


def _stop() -> None:
    # Imported here, not above: see `_start_ray`.
    from pipelines.application.deployment import stop  # noqa: PLC0415

    stop()


def _watch(consumers: "Broadcasts", interval_s: float) -> None:
    """Print what the consumers do, until one has stopped for good."""
    # Imported here, not above: see `_start_ray`.
    from pipelines.application.deployment import ask_consumers  # noqa: PLC0415

    while True:
        time.sleep(interval_s)
        found = ask_consumers(consumers, timeout_s=_STATUS_TIMEOUT_S)
        for reason in found.silent:
            _log.warning("no status", reason=reason)
        for status in found.statuses:
            _log.info("status", **status)
        if stopped := [status for status in found.statuses if status["stopped"]]:
            raise ConsumerStoppedError(f"a consumer stopped: {stopped[0]['stopped']}")


def _watch_front(interval_s: float) -> None:
    """Print how the HTTP front is."""
    # Imported here, not above: see `_start_ray`.
    from pipelines.application.deployment import describe_front  # noqa: PLC0415

    while True:
        time.sleep(interval_s)
        _log.info("status", http=describe_front())


def _prepare_port(settings: WeirSettings) -> None:
    """Look whether the ports of the HTTP front are free, and its certificate usable, where it is on this machine.

    Raises:
        ConfigurationError: one is not.
    """
    http = settings.http
    if http is None or settings.serve.address is not None:
        return
    if http.tls is not None:
        require_usable(http.tls)
    _require_free("http", http.host, http.port)
    if http.ingress == "haproxy":
        for port in (http.haproxy.stats_port, http.haproxy.metrics_port):
            _require_free("http.haproxy", None, port)


def _require_free(section: str, host: str | None, port: int) -> None:
    """Raise unless a port can be listened at, on one address or on all interfaces."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigurationError(
            f"{section}: expected to listen at {host or 'all interfaces'!r}, port {port}: {error.strerror}"
        ) from error


def _tell_address(settings: WeirSettings) -> None:
    http = settings.http
    if http is None:
        return
    host = f"[{http.host}]" if ":" in http.host else http.host
    scheme = "http" if http.tls is None else "https"
    who = "who has a key" if http.keys else "this machine only, since http.keys is empty"
    _log.info("HTTP", address=f"{scheme}://{host}:{http.port}", answers=who, ingress=http.ingress)
    if http.ingress == "haproxy" and settings.serve.address is None:
        _log.warning("HAProxy shows its own pages to everybody who reaches this machine", **http.haproxy.model_dump())


def _prepare_topics(settings: WeirSettings, num_partitions: int | None) -> None:
    """Make missing topics, or say which are missing. A broker that is not there yet is waited for by the consumers.

    Raises:
        ConfigurationError: topics are missing and nobody asked for them to be made.
    """
    # Imported here, not above: see `serve`.
    from pipelines.streaming.kafka.broker_administration import ensure_topics, missing_topics  # noqa: PLC0415
    from pipelines.streaming.outlets import Outlets  # noqa: PLC0415

    stream = settings.stream
    names = (stream.source_topic, *Outlets.of(stream).topics())
    if num_partitions is not None:
        ensure_topics(settings.kafka, dict.fromkeys(names, num_partitions))
        return
    try:
        missing = missing_topics(settings.kafka, names, timeout_s=_STATUS_TIMEOUT_S)
    except BrokerUnavailableError as error:
        _log.warning("no broker yet; the consumers go on trying", reason=str(error))
        return
    if missing:
        raise ConfigurationError(
            f"Kafka has no topic {', '.join(missing)}; expected it to be there, or --create-topics"
        )


@contextmanager
def _noting_signals() -> Iterator[list[int]]:
    """Yield the signals that come meanwhile; they interrupt nothing."""
    noted: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers = [signal.signal(number, lambda number, _frame: noted.append(number)) for number in numbers]
    try:
        yield noted
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


def _ignore_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise _Terminated
