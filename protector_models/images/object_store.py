"""Images in an S3-compatible object store: a reference becomes a signed address, which is downloaded as any other.

Signing needs no network. So there is one way of downloading, with one set of limits: boto3's own would wait for a store
that drips bytes as long as it drips.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]  # ships no types
from botocore.config import Config  # type: ignore[import-untyped]  # ships no types
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # ships no types

from protector_models.images.download import ImageDownloads
from protector_models.images.fetch_error import ImageFetchError
from protector_models.images.settings import ObjectStoreSettings
from protector_models.images.web_addresses import WebAddress
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.images import ImageFault

MAX_KEY_BYTES = 1_024
"""Of an object's key, by the protocol."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class _SigningClient(Protocol):
    """What is used of boto3's S3 client."""

    def generate_presigned_url(self, operation: str, /, *, Params: dict[str, str], ExpiresIn: int) -> str:
        """Sign a request without sending it."""


class ObjectStoreImages:
    """Fetches s3:// references."""

    def __init__(
        self, *, client: _SigningClient, downloads: ImageDownloads, buckets: Sequence[str], timeout_s: float
    ) -> None:
        """Put it together; nothing is signed.

        Args:
            client: signs; `open_signing_client` makes one.
            downloads: downloads what was signed. The store is where the configuration says, so its address is not
                checked again.
            buckets: those that are read from.
            timeout_s: how long a signature has to hold.
        """
        self._client = client
        self._downloads = downloads
        self._buckets = frozenset(buckets)
        self._expires_s = math.ceil(timeout_s) + 60

    async def fetch(self, reference: str) -> bytes:
        """Return the object that a reference such as s3://bucket/folder/cat.png names.

        Raises:
            ImageFetchError: it could not be had, and why.
        """
        bucket, key = _parse(reference)
        if bucket not in self._buckets:
            raise ImageFetchError(ImageFault.REFERENCE_NOT_ALLOWED, "s3: the bucket is not a configured one")
        # On a thread: keys of a role are asked for over the network now and then.
        address = await asyncio.to_thread(self._sign, bucket, key)
        return await self._downloads.get(address, follow=_refuse_redirect, max_redirects=0)

    def _sign(self, bucket: str, key: str) -> WebAddress:
        try:
            url = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=self._expires_s
            )
        except (BotoCoreError, ClientError) as error:
            message = f"s3: the request could not be signed ({type(error).__name__})"
            raise ImageFetchError(ImageFault.FETCH_FAILED, message) from error
        parts = urlsplit(url)
        return WebAddress(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=parts.port or _DEFAULT_PORTS[parts.scheme],
            target=f"{parts.path}?{parts.query}",
            label="s3",
        )


def open_signing_client(settings: ObjectStoreSettings) -> Any:
    """Make a client that signs; nothing is sent.

    Raises:
        ConfigurationError: boto3 does not accept the settings.
    """
    secret = settings.secret_access_key
    try:
        session = boto3.session.Session(
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            region_name=settings.region or "us-east-1",
        )
        # Stores other than AWS need no DNS entry for each bucket where it stands in the path.
        style = "virtual" if settings.endpoint_url is None else "path"
        return session.client(
            "s3",
            endpoint_url=settings.endpoint_url,
            config=Config(signature_version="s3v4", s3={"addressing_style": style}),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"images.fetch.object_store: not accepted by boto3: {error}") from error


def _parse(reference: str) -> tuple[str, str]:
    """Return bucket and key; as they stand there, since percent signs are characters of keys."""
    bucket, _, key = reference[len("s3://") :].partition("/")
    is_whole = reference[: len("s3://")].lower() == "s3://" and bucket and key
    if not is_whole or len(key.encode()) > MAX_KEY_BYTES:
        raise ImageFetchError(
            ImageFault.INVALID_REFERENCE, f"expected s3://bucket/key with a key of at most {MAX_KEY_BYTES} bytes"
        )
    # What lies between here and the store may take them for folders, and end in another bucket.
    if not key.isprintable() or any(part in {"", ".", ".."} for part in key.split("/")):
        raise ImageFetchError(
            ImageFault.INVALID_REFERENCE, "s3: expected a key of printable characters without empty, '.' or '..' parts"
        )
    return bucket, key


def _refuse_redirect(address: WebAddress, _location: str) -> WebAddress:
    raise ImageFetchError(
        ImageFault.REDIRECT_NOT_ALLOWED, f"{address.label}: the store redirected; is region the bucket's one?"
    )
