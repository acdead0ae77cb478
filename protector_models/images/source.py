"""The source of images: data URLs, web servers, object stores and folders, each only as far as it is configured."""

import asyncio
import hashlib
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from ipaddress import ip_network
from pathlib import Path

import httpcore
import httpx

from protector_models.images.checked_connections import CheckedConnections, Resolve, resolve_by_system
from protector_models.images.data_urls import DataUrlImages
from protector_models.images.download import ImageDownloads
from protector_models.images.fetch_error import ImageFetchError
from protector_models.images.fetch_slots import FetchSlots
from protector_models.images.files import FileImages
from protector_models.images.formats import FORMATS_IN_WORDS, SIGNATURES_BYTES, sniff_media_type
from protector_models.images.public_addresses import IPNetwork
from protector_models.images.settings import ImageSettings
from protector_models.images.web_images import WebImages
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.images import ImageContent, ImageFault
from protector_models.moderation.model_outputs import ItemFailure

MAX_REFERENCE_CHARACTERS = 8_192
"""Of a reference that is no data URL; the longest that common web servers take."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,15}):", re.IGNORECASE)
_DATA_URL_AFTER_BLANKS = re.compile(r"[\t\n\f\r ]+data:", re.IGNORECASE)
_ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))

Fetch = Callable[[str], Awaitable[bytes]]
"""Returns the content that a reference stands for; raises ImageFetchError."""


class ConfiguredImageSource:
    """Fetches what is configured and refuses the rest. Implements `ImageSource`. Belongs to one event loop."""

    def __init__(self, *, ways: Mapping[str, Fetch], downloads: Sequence[ImageDownloads], timeout_s: float) -> None:
        """Put a source together; `load_image_source` does.

        Args:
            ways: how images are fetched, by the scheme of their reference.
            downloads: what is closed with the source.
            timeout_s: how long one image may take.
        """
        self._ways = dict(ways)
        self._downloads = tuple(downloads)
        self._timeout_s = timeout_s

    async def fetch(self, references: Sequence[str]) -> list[ImageContent | ItemFailure]:
        """Fetch each image, equal references once. Takes no longer than one image may, and raises nothing."""
        async with asyncio.TaskGroup() as group:
            tasks = {reference: group.create_task(self._fetch(reference)) for reference in dict.fromkeys(references)}
        return [tasks[reference].result() for reference in references]

    async def close(self) -> None:
        """Close the connections."""
        for downloads in self._downloads:
            await downloads.close()

    async def _fetch(self, reference: str) -> ImageContent | ItemFailure:
        if _DATA_URL_AFTER_BLANKS.match(reference):
            # As browsers do; other references stand as they are, or are none.
            reference = reference.lstrip("\t\n\f\r ")
        try:
            async with asyncio.timeout(self._timeout_s):
                return _to_content(await self._way_of(reference)(reference))
        except ImageFetchError as error:
            return error.as_failure()
        except TimeoutError:
            return ItemFailure(error=ImageFault.FETCH_TIMEOUT, message=f"no image within {self._timeout_s:g} s")

    def _way_of(self, reference: str) -> Fetch:
        match = _SCHEME.match(reference)
        if match is None:
            raise ImageFetchError(ImageFault.INVALID_REFERENCE, "expected a URL or a data URL")
        scheme = match[1].lower()
        if scheme not in self._ways:
            message = f"a scheme that is not a configured one: expected {', '.join(self._ways)}"
            raise ImageFetchError(ImageFault.REFERENCE_NOT_ALLOWED, message)
        if scheme != "data":
            _require_reasonable(reference)
        return self._ways[scheme]


def load_image_source(
    settings: ImageSettings,
    *,
    resolve: Resolve = resolve_by_system,
    connector: httpcore.AsyncNetworkBackend | None = None,
) -> ConfiguredImageSource:
    """Make a source; nothing is connected and no image is read.

    Args:
        settings: of which `fetch` says what may be fetched.
        resolve: looks names up.
        connector: connects to addresses; None: anyio's.

    Raises:
        ConfigurationError: a folder is none, certificates cannot be read, or boto3 refuses the object store.
    """
    fetch = settings.fetch
    slots = FetchSlots(total=fetch.concurrency, per_host=fetch.concurrency_per_host)
    connector = connector or httpcore.AnyIOBackend()

    def open_downloads(allowed_networks: Sequence[IPNetwork]) -> ImageDownloads:
        return ImageDownloads(
            connections=CheckedConnections(resolve=resolve, connector=connector, allowed_networks=allowed_networks),
            ssl_context=_trusted(fetch.ca_file),
            slots=slots,
            max_bytes=fetch.max_bytes,
            timeout_s=fetch.timeout_s,
            connect_timeout_s=fetch.connect_timeout_s,
            max_attempts=fetch.max_attempts,
        )

    downloads: list[ImageDownloads] = []
    ways: dict[str, Fetch] = {}
    if "data" in fetch.schemes:
        ways["data"] = DataUrlImages(max_bytes=fetch.max_bytes).fetch
    for scheme in sorted({"https", "http"} & set(fetch.schemes)):
        if not downloads:
            downloads.append(open_downloads(fetch.allowed_networks))
        ways[scheme] = WebImages(
            downloads=downloads[0],
            hosts=fetch.hosts,
            ports=fetch.ports,
            max_redirects=fetch.max_redirects,
        ).fetch
    if "s3" in fetch.schemes:
        # boto3 takes a second to import.
        from protector_models.images.object_store import ObjectStoreImages, open_signing_client  # noqa: PLC0415

        # Nobody but the configuration says where the store is: it may well be on a private network.
        downloads.append(open_downloads(_ANYWHERE))
        ways["s3"] = ObjectStoreImages(
            client=open_signing_client(fetch.object_store),
            downloads=downloads[-1],
            buckets=fetch.buckets,
            timeout_s=fetch.timeout_s,
        ).fetch
    if "file" in fetch.schemes:
        ways["file"] = FileImages.open(fetch.roots, slots=slots, max_bytes=fetch.max_bytes).fetch
    return ConfiguredImageSource(ways=ways, downloads=downloads, timeout_s=fetch.timeout_s)


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    """Return what certificates are checked with; the environment takes no part in it."""
    if ca_file is None:
        return _trusted_authorities()
    context = httpx.create_ssl_context(trust_env=False)
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        message = f"images.fetch.ca_file: expected certificates in PEM form, got {str(ca_file)!r}: {error}"
        raise ConfigurationError(message) from error
    return context


@cache
def _trusted_authorities() -> ssl.SSLContext:
    # For all sources: reading the certificates takes tens of milliseconds.
    return httpx.create_ssl_context(trust_env=False)


def _require_reasonable(reference: str) -> None:
    if len(reference) > MAX_REFERENCE_CHARACTERS:
        message = f"a URL of {len(reference)} characters, expected at most {MAX_REFERENCE_CHARACTERS}"
        raise ImageFetchError(ImageFault.INVALID_REFERENCE, message)
    try:
        reference.encode()
    except UnicodeEncodeError as error:
        raise ImageFetchError(ImageFault.INVALID_REFERENCE, "a URL with half a character") from error


def _to_content(data: bytes) -> ImageContent:
    """Return the content under the media type that its bytes have.

    Raises:
        ImageFetchError: FormatNotAllowed: they begin like no raster image.
    """
    media_type = sniff_media_type(data[:SIGNATURES_BYTES])
    if media_type is None:
        message = f"expected the bytes of a {FORMATS_IN_WORDS} image"
        raise ImageFetchError(ImageFault.FORMAT_NOT_ALLOWED, message)
    return ImageContent(data=data, media_type=media_type, sha256=hashlib.sha256(data).hexdigest())
