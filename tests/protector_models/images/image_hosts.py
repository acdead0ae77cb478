"""A pretend internet on loopback: servers that behave as they are told, names, addresses, and who may be reached.

Foreign addresses stand in its directory only. Those that a test calls public lead to a server on loopback; connecting
to any other address fails the test and sends nothing.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpcore
from aiohttp import web

from protector_models.images.public_addresses import IPAddress
from protector_models.images.settings import FetchSettings, ImageSettings
from protector_models.images.source import ConfiguredImageSource, load_image_source
from protector_models.moderation.images import ImageContent
from protector_models.moderation.model_outputs import ItemFailure

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 20
"""What begins like a picture: fetching looks at no more."""

PUBLIC = "93.184.216.34"
"""A public address that leads to loopback in the pretend internet."""
OTHER_PUBLIC = "2606:2800:220:1:248:1893:25c8:1946"
SILENT = "127.0.0.99"
"""An address of loopback that swallows packets."""
PRIVATE = "10.1.2.3"
METADATA = "169.254.169.254"

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class LoopbackOnly(httpcore.AsyncNetworkBackend):
    """Connects to loopback, or to it in place of a public address of the test; anything else fails the test."""

    def __init__(self, *, stand_ins: Sequence[str] = (PUBLIC, OTHER_PUBLIC)) -> None:
        self._stand_ins = frozenset(stand_ins)
        self._inner = httpcore.AnyIOBackend()
        self.attempts: list[tuple[str, int]] = []
        """Addresses and ports that somebody asked to be connected to."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.attempts.append((host, port))
        is_loopback = ipaddress.ip_address(host).is_loopback
        if not is_loopback and host not in self._stand_ins:
            raise AssertionError(f"a connection to {host} port {port} was asked for")
        if host == SILENT:
            await asyncio.sleep(timeout or 0)
            raise httpcore.ConnectTimeout(f"{host} port {port}")
        reached = host if is_loopback else "127.0.0.1"
        return await self._inner.connect_tcp(reached, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


@dataclass
class Directory:
    """Looks names up: of several answers for a name the next one each time, the last one again and again."""

    answers: Mapping[str, Sequence[Sequence[str]]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, _port: int) -> list[IPAddress]:
        """Look a name up."""
        self.asked.append(host)
        if host not in self.answers:
            raise OSError(f"{host}: no such name")
        answers = self.answers[host]
        turn = min(self.asked.count(host), len(answers)) - 1
        return [ipaddress.ip_address(address) for address in answers[turn]]


@dataclass
class ImageHost:
    """A server on a free port of loopback."""

    handle: Handle
    port: int = 0
    requests: list[web.BaseRequest] = field(default_factory=list)

    async def _remember(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        return await self.handle(request)


@asynccontextmanager
async def open_host(
    handle: Handle, *, ssl_context: ssl.SSLContext | None = None, address: str = "127.0.0.1"
) -> AsyncIterator[ImageHost]:
    """Run a server that answers every request by what a function says."""
    host = ImageHost(handle)
    runner = web.ServerRunner(web.Server(host._remember), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, address, 0, ssl_context=ssl_context).start()
    host.port = runner.addresses[0][1]
    try:
        yield host
    finally:
        await runner.cleanup()


@dataclass(frozen=True, kw_only=True)
class Internet:
    """A source that reaches only what the test made."""

    source: ConfiguredImageSource
    connector: LoopbackOnly
    directory: Directory

    async def fetch(self, reference: str) -> ImageContent | ItemFailure:
        """Fetch one image."""
        (result,) = await self.source.fetch([reference])
        return result


@asynccontextmanager
async def open_internet(
    settings: FetchSettings, names: Mapping[str, Sequence[Sequence[str]]] | None = None
) -> AsyncIterator[Internet]:
    """Open a source with the settings.

    Args:
        settings: of the source.
        names: what each name leads to at its first look-up, its second and so on; null: img.example.org is `PUBLIC`.
    """
    directory = Directory(names if names is not None else {"img.example.org": [[PUBLIC]]})
    connector = LoopbackOnly()
    source = load_image_source(ImageSettings(fetch=settings), resolve=directory, connector=connector)
    try:
        yield Internet(source=source, connector=connector, directory=directory)
    finally:
        await source.close()


def web_settings(host: ImageHost, **fields: Any) -> FetchSettings:
    """Build settings that allow http from img.example.org on the port of a server."""
    return FetchSettings(
        **{"schemes": ["http"], "hosts": ["img.example.org"], "ports": [host.port], "timeout_s": 5, **fields}
    )


def replying(body: bytes = PNG, *, status: int = 200, **headers: str) -> Handle:
    """Return a handler that always answers the same."""

    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(
            status=status, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    return handle


def redirecting(location: Callable[[web.BaseRequest], str]) -> Handle:
    """Return a handler that redirects each request to what a function says."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location(request)})

    return handle


async def hang(_request: web.BaseRequest) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def drip(request: web.BaseRequest) -> web.StreamResponse:
    """Answer one byte after the other, without an end."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(PNG[:8])
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.01)


async def stop_halfway(request: web.BaseRequest) -> web.StreamResponse:
    """Announce a body, send half of it and close."""
    response = web.StreamResponse(headers={"Content-Length": str(len(PNG))})
    await response.prepare(request)
    await response.write(PNG[: len(PNG) // 2])
    assert request.transport is not None
    request.transport.close()
    return response
