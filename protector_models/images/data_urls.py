"""Images that stand in their reference: data URLs."""

import asyncio
import base64
import binascii
import re

from protector_models.images.fetch_error import ImageFetchError
from protector_models.moderation.images import ImageFault

_MAX_HEADER_CHARACTERS = 256
"""Of what stands before the comma."""

_HEADER = re.compile(r"data:(?P<media_type>[^;,]*)(;[^;,]+)*?(?P<base64>;\s*base64)?", re.IGNORECASE)


class DataUrlImages:
    """Decodes data URLs, one at a time and with turns for others in between: a large one takes tens of milliseconds."""

    def __init__(self, *, max_bytes: int) -> None:
        """Take the size of the largest image, in bytes."""
        self._max_bytes = max_bytes
        self._turn = asyncio.Lock()

    async def fetch(self, reference: str) -> bytes:
        """Return the content of a data URL.

        Raises:
            ImageFetchError: it has none, and why.
        """
        async with self._turn:
            return decode_data_url(reference, max_bytes=self._max_bytes)


def decode_data_url(reference: str, *, max_bytes: int) -> bytes:
    """Return the bytes in a data URL; its length is checked before anything is decoded.

    Args:
        reference: such as "data:image/png;base64,iVBOR...".
        max_bytes: the largest content.

    Raises:
        ImageFetchError: InvalidReference: not in base64, or malformed. FormatNotAllowed: its media type is none of an
            image. TooManyBytes: the content is larger.
    """
    comma = reference.find(",", 0, _MAX_HEADER_CHARACTERS)
    header = _HEADER.fullmatch(reference, 0, comma) if comma >= 0 else None
    if header is None:
        raise ImageFetchError(ImageFault.INVALID_REFERENCE, "expected a data URL such as data:image/png;base64,...")
    if not header["media_type"].strip().lower().startswith("image/"):
        raise ImageFetchError(ImageFault.FORMAT_NOT_ALLOWED, "a data URL whose media type is not one of an image")
    if header["base64"] is None:
        raise ImageFetchError(ImageFault.INVALID_REFERENCE, "a data URL that is percent-encoded, expected base64")
    num_characters = len(reference) - comma - 1
    # Four characters hold three bytes; of the last four, up to two are padding.
    if num_characters // 4 * 3 - 2 > max_bytes:
        raise ImageFetchError(ImageFault.TOO_MANY_BYTES, f"a data URL of more than {max_bytes} bytes")
    try:
        data = base64.b64decode(reference[comma + 1 :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageFetchError(ImageFault.INVALID_REFERENCE, "a data URL that is not in base64") from error
    if len(data) > max_bytes:
        raise ImageFetchError(ImageFault.TOO_MANY_BYTES, f"a data URL of {len(data)} bytes, expected {max_bytes}")
    return data
