"""Downloads of images: one request after the other, with limits, tries and redirects, and nothing else that HTTP knows.

On httpcore and not on a client above it: no proxies or passwords from the environment, no cookies, no decompression and
no redirects that were not asked for.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import httpcore

from protector_models.endpoints.busy_servers import asking_again, may_pass, read_retry_after
from protector_models.images.fetch_error import ImageFetchError
from protector_models.images.fetch_slots import FetchSlots
from protector_models.images.web_addresses import WebAddress
from protector_models.moderation.images import ImageFault

Follow = Callable[[WebAddress, str], WebAddress]
"""Where a redirect from an address to a location leads; raises ImageFetchError where it may not."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_HEADERS = (
    (b"Accept", b"image/*"),
    # What is compressed could be a thousand times as large as the bytes that are counted.
    (b"Accept-Encoding", b"identity"),
    (b"User-Agent", b"weir"),
)


class _TryAgainError(ImageFetchError):
    """The host was busy, failed, or could not be reached."""

    def __init__(self, fault: ImageFault, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(fault, message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Redirect:
    location: str


class ImageDownloads:
    """Downloads images over connections that are given to it."""

    def __init__(
        self,
        *,
        connections: httpcore.AsyncNetworkBackend,
        ssl_context: ssl.SSLContext,
        slots: FetchSlots,
        max_bytes: int,
        timeout_s: float,
        connect_timeout_s: float,
        max_attempts: int,
    ) -> None:
        """Put it together; nothing is connected.

        Args:
            connections: opens connections, and decides to where.
            ssl_context: with what certificates are checked.
            slots: how many downloads run at the same time.
            max_bytes: the largest image.
            timeout_s: after what time no further try is begun; the caller ends a download that is late.
            connect_timeout_s: for looking up and connecting, and once more for the TLS handshake.
            max_attempts: how often an address is asked.
        """
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            network_backend=connections,
            # As many as there are turns; idle ones are kept for a moment, for the next image of the same host.
            max_connections=None,
            max_keepalive_connections=16,
            keepalive_expiry=5.0,
        )
        self._slots = slots
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._max_attempts = max_attempts

    async def get(self, address: WebAddress, *, follow: Follow, max_redirects: int) -> bytes:
        """Download an image.

        Args:
            address: where it is; whether it may be asked for is for the caller to check.
            follow: decides where a redirect leads.
            max_redirects: how many of them are followed.

        Raises:
            ImageFetchError: it could not be had, and why.
        """
        async with self._slots.turn(address.host):
            for _ in range(max_redirects + 1):
                answer = await self._try_to_get(address)
                if isinstance(answer, bytes):
                    return answer
                address = follow(address, answer.location)
        raise ImageFetchError(
            ImageFault.REDIRECT_NOT_ALLOWED, f"{address.label}: redirected more than {max_redirects} times"
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def _try_to_get(self, address: WebAddress) -> bytes | _Redirect:
        tries = asking_again(
            _TryAgainError, max_attempts=self._max_attempts, initial_s=0.1, max_s=2, within_s=self._timeout_s
        )
        return await tries(self._get, address)

    async def _get(self, address: WebAddress) -> bytes | _Redirect:
        url = httpcore.URL(
            scheme=address.scheme.encode(),
            host=address.host.encode(),
            port=address.port,
            target=address.target.encode(),
        )
        extensions = {"timeout": {"connect": self._connect_timeout_s}}
        try:
            async with self._pool.stream("GET", url, headers=list(_HEADERS), extensions=extensions) as response:
                return await self._read(response, address)
        except httpcore.TimeoutException as error:
            message = f"{address.label}: no connection within {self._connect_timeout_s:g} s"
            raise _TryAgainError(ImageFault.FETCH_TIMEOUT, message) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            if isinstance(error.__context__, ssl.SSLError):
                message = f"{address.label}: no TLS connection, its certificate may not be valid for it"
                raise ImageFetchError(ImageFault.FETCH_FAILED, message) from error
            message = f"{address.label}: no whole answer ({type(error).__name__})"
            raise _TryAgainError(ImageFault.FETCH_FAILED, message) from error

    async def _read(self, response: httpcore.Response, address: WebAddress) -> bytes | _Redirect:
        headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        status = response.status
        if may_pass(status):
            message = f"{address.label}: status {status}, expected 200"
            asked_s = read_retry_after(headers.get(b"retry-after", ""), datetime.now(UTC))
            raise _TryAgainError(ImageFault.FETCH_FAILED, message, asked_s)
        if status in _REDIRECTS and b"location" in headers:
            return _Redirect(location=headers[b"location"])
        if status != 200:
            raise ImageFetchError(ImageFault.FETCH_FAILED, f"{address.label}: status {status}, expected 200")
        if headers.get(b"content-encoding", "identity").strip().lower() not in {"", "identity"}:
            raise ImageFetchError(
                ImageFault.FETCH_FAILED, f"{address.label}: a compressed answer, expected a plain one"
            )
        announced = _number(headers.get(b"content-length", ""))
        if announced is not None and announced > self._max_bytes:
            raise self._too_many_bytes(address)
        return await self._read_body(response, address)

    async def _read_body(self, response: httpcore.Response, address: WebAddress) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > self._max_bytes:
                raise self._too_many_bytes(address)
        return bytes(body)

    def _too_many_bytes(self, address: WebAddress) -> ImageFetchError:
        message = f"{address.label}: an image of more than {self._max_bytes} bytes"
        return ImageFetchError(ImageFault.TOO_MANY_BYTES, message)


def _number(value: str) -> int | None:
    """Return the number in a header; None where it holds none."""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None
