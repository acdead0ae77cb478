"""The HTTP front on Ray Serve, and a bare route beside it, in a process of their own: Ray has one ingress for life."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

from pipelines.bench.keep_alive import KeepAliveConnection
from pipelines.bench.stream_events import BenchmarkError
from pipelines.settings import WeirSettings
from protector_models.moderation.errors import WeirError
from services.free_ports import free_ports
from services.http.settings import HaproxySettings, HttpSettings, Ingress

HOST = "127.0.0.1"
"""Where it is served."""
ECHO_ROUTE = "/echo/"

_DEADLINE_S = 600.0
_ECHO_APPLICATION = "weir-bench-echo"
_START_S = 300.0
_STOP_S = 120.0
_POLL_S = 0.1


@contextmanager
def served_front(settings: WeirSettings, ingress: Ingress) -> Iterator[int]:
    """Start Ray, the HTTP front and the bare route; yield their port on this machine once they answer; stop them.

    Args:
        settings: of the application. It is served to everybody on this machine, on free ports, with as much time as a
            request needs.
        ingress: what Ray Serve takes requests with.

    Raises:
        BenchmarkError: it does not come up.
        ConfigurationError: it cannot, as configured.
    """
    port, stats_port, metrics_port = free_ports(3)
    http = (settings.http or HttpSettings()).model_copy(
        update={
            "host": HOST,
            "port": port,
            "keys": (),
            "ingress": ingress,
            "haproxy": HaproxySettings(stats_port=stats_port, metrics_port=metrics_port),
            "deadline_s": _DEADLINE_S,
        }
    )
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(settings.model_copy(update={"http": http}), there))
    process.start()
    there.close()
    try:
        _require_started(here)
        asyncio.run(_wait_until_answering(port))
        yield port
    finally:
        here.close()  # the sign to stop
        process.join(_STOP_S)
        process.kill()
        process.join()


def _require_started(child: Connection) -> None:
    if not child.poll(_START_S):
        raise BenchmarkError(f"Ray and the front did not start within {_START_S:g} s")
    try:
        error = child.recv()
    except EOFError:
        raise BenchmarkError("the process with Ray and the front ended while it started") from None
    if isinstance(error, WeirError):
        raise error


async def _wait_until_answering(port: int) -> None:
    ends_at_s = time.monotonic() + _START_S
    while not (await _answers(port, "GET", "/readyz") and await _answers(port, "POST", ECHO_ROUTE)):
        if time.monotonic() > ends_at_s:
            raise BenchmarkError(f"the front and the bare route do not answer within {_START_S:g} s")
        await asyncio.sleep(_POLL_S)


async def _answers(port: int, method: str, path: str) -> bool:
    connection = await KeepAliveConnection.open(HOST, port, timeout_s=_START_S)
    try:
        return (await connection.ask(method, path)).status == 200
    finally:
        await connection.close()


def _serve(settings: WeirSettings, parent: Connection) -> None:
    """Serve until the parent has hung up; tell it once that all is up, or why not."""
    # Nobody calls what is stopped here: see `services.deployments.ingress`.
    os.environ.setdefault("RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S", "0")
    # Imported here, not above: the process that measures needs no Ray.
    from pipelines.application.deployment import run_http_only, stop  # noqa: PLC0415
    from services.deployments.application import run_application, start_serve  # noqa: PLC0415
    from services.deployments.echo_front import bind_echo  # noqa: PLC0415

    try:
        start_serve(settings.serve, http=settings.http)
        run_http_only(settings)
        echo = bind_echo(settings.serve.http)
        run_application(echo, name=_ECHO_APPLICATION, routes={_ECHO_APPLICATION: ECHO_ROUTE.rstrip("/")})
        parent.send(None)
        parent.poll(None)
    except WeirError as error:
        parent.send(error)
    except KeyboardInterrupt:
        return
    finally:
        stop()
