"""`weir serve`: the application on Ray Serve, in the foreground."""

import asyncio
import signal
import time
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer

from pipelines.commands.options import ConfigOption
from pipelines.logs import configure_logs
from pipelines.settings import WeirSettings, load_settings
from protector_models.moderation.errors import BrokerUnavailableError, ConfigurationError, DependencyError, WeirError

if TYPE_CHECKING:
    from services.remote_calls import ServeHandle

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
    status_interval_s: Annotated[
        float, typer.Option("--status-interval", metavar="SECONDS", help="Seconds between two status lines.", min=1)
    ] = 30.0,
) -> None:
    """Run the application: read conversations from Kafka, publish them moderated.

    Starts Ray on this machine unless serve.address names a cluster. Ctrl-C or SIGTERM drains: results in flight are
    published and committed, then everything stops.

    Ends with 0 after draining, 1 when a consumer gave up, 2 for a wrong configuration.
    """
    settings = load_settings(config)
    configure_logs(settings.log)
    # Imported here, not above: Ray takes seconds, and every other command would pay for them.
    from pipelines.application import run, stop  # noqa: PLC0415
    from services.app import start_serve  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _terminate)
    try:
        _prepare_topics(settings, create_topics)
        start_serve(settings.serve, show_replica_logs=True)
        signal.signal(signal.SIGTERM, _terminate)  # once more: Ray has put its own in place
        handle = run(settings)
        _log.info("weir is up", source=settings.stream.source_topic, sink=settings.stream.sink_topic)
        _watch(handle, status_interval_s)
    except (KeyboardInterrupt, _Terminated):
        _log.info("draining")
    finally:
        # Said once is enough: the drain has its own bound.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop()
    _log.info("stopped")


def _watch(handle: "ServeHandle", interval_s: float) -> None:
    """Print what the consumers do, until one has stopped for good."""
    # Imported here, not above: see `serve`.
    from services.remote_calls import ask  # noqa: PLC0415

    while True:
        time.sleep(interval_s)
        try:
            status: dict[str, Any] = asyncio.run(ask(handle, "status", timeout_s=_STATUS_TIMEOUT_S))
        except DependencyError as error:
            _log.warning("no status", reason=str(error))
            continue
        _log.info("status", **status)
        if status["stopped"]:
            raise ConsumerStoppedError(f"a consumer stopped: {status['stopped']}")


def _prepare_topics(settings: WeirSettings, num_partitions: int | None) -> None:
    """Make missing topics, or say which are missing. A broker that is not there yet is waited for by the consumers.

    Raises:
        ConfigurationError: topics are missing and nobody asked for them to be made.
    """
    # Imported here, not above: see `serve`.
    from pipelines.streaming.topics import ensure_topics, missing_topics  # noqa: PLC0415

    stream = settings.stream
    names = (stream.source_topic, stream.sink_topic, stream.dead_letters.topic)
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


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise _Terminated
