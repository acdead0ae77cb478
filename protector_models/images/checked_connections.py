"""Connections to public addresses only: the address that is checked is the one that is connected to.

A check before the request would be worth little: the name can lead elsewhere when the HTTP library looks it up again.
So the library gets its connections from here, where a name is looked up once and every address is checked.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address

import httpcore

from protector_models.images.fetch_error import ImageFetchError
from protector_models.images.public_addresses import IPAddress, IPNetwork, is_in, is_public
from protector_models.moderation.images import ImageFault

Resolve = Callable[[str, int], Awaitable[Sequence[IPAddress]]]
"""Looks a name up, for a port: its addresses, best first. Raises OSError where it has none."""


async def resolve_by_system(host: str, port: int) -> list[IPAddress]:
    """Look a name up as the system does: hosts file, DNS."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(address[0])) for _, _, _, _, address in found]


class CheckedConnections(httpcore.AsyncNetworkBackend):
    """Connects to what a name leads to, if every address that it leads to is public or in an allowed network."""

    def __init__(
        self,
        *,
        resolve: Resolve,
        connector: httpcore.AsyncNetworkBackend,
        allowed_networks: Sequence[IPNetwork],
    ) -> None:
        """Put it together; nothing is connected.

        Args:
            resolve: looks names up.
            connector: connects to an address; never gets a name.
            allowed_networks: whose addresses are connected to although they are not public.
        """
        self._resolve = resolve
        self._connector = connector
        self._allowed_networks = tuple(allowed_networks)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Look a name up and connect to the first of its addresses that answers.

        Args:
            host: a name, or an address.
            port: the port.
            timeout: seconds for looking up and connecting together.
            local_address: where to connect from.
            socket_options: passed on.

        Raises:
            ImageFetchError: AddressNotAllowed: an address of the name is not public. Nothing was connected to.
            httpcore.ConnectError: the name has no address, or none answers.
            httpcore.ConnectTimeout: too late.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._look_up(host, port)
                self._require_allowed(host, addresses)
                return await self._connect_to_first(addresses, port, timeout, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host}: no connection within {timeout} s") from error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109  # httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002  # as above
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no reference leads to a socket of this machine."""
        raise httpcore.UnsupportedProtocol(f"{path}: expected no Unix socket")

    async def sleep(self, seconds: float) -> None:
        """Wait between the tries of httpcore."""
        await self._connector.sleep(seconds)

    async def _look_up(self, host: str, port: int) -> Sequence[IPAddress]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host}: not found") from error
        if not addresses:
            raise httpcore.ConnectError(f"{host}: has no address")
        return addresses

    def _require_allowed(self, host: str, addresses: Sequence[IPAddress]) -> None:
        # All of them, also those that would not be needed: a name that leads to both is an attack or a mistake. The
        # message does not say where it leads, which is nobody's business outside.
        if not all(is_public(address) or is_in(address, self._allowed_networks) for address in addresses):
            raise ImageFetchError(
                ImageFault.ADDRESS_NOT_ALLOWED, f"{host}: leads to an address that is neither public nor allowed"
            )

    async def _connect_to_first(
        self,
        addresses: Sequence[IPAddress],
        port: int,
        timeout: float | None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        # Each has its share of the time: one that swallows packets must not take that of those that answer.
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                return await self._connector.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._connector.connect_tcp(str(addresses[-1]), port, share, local_address, socket_options)
