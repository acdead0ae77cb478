"""Images that stand in their reference: data URLs, in every form in which browsers show them."""

import asyncio
import base64
import binascii

import numpy as np

from protector_models.images.fetch_error import ImageFetchError
from protector_models.moderation.images import ImageFault

_MAX_HEADER_CHARACTERS = 256
"""Of what stands before the comma."""

_SCHEME = "data:"
_BLANKS = "\t\n\f\r "
_GENERIC_MEDIA_TYPES = frozenset({"", "application/octet-stream", "binary/octet-stream", "*/*"})
"""What programs write that do not know the type of a file; it is told from the bytes in any case."""
_ESCAPE = ord("%")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")

_DIGITS = np.full(256, -1, dtype=np.int16)
"""The value of each byte as a hexadecimal digit; -1 where it is none."""
for _value, _digit in enumerate("0123456789abcdef"):
    _DIGITS[[ord(_digit), ord(_digit.upper())]] = _value


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

    As in browsers, the content may be in base64 or percent-encoded, base64 itself may be percent-encoded, broken into
    lines and without its padding, and what follows a "#" does not count. The URL-safe alphabet is taken too.

    Args:
        reference: such as "data:image/png;base64,iVBOR...".
        max_bytes: the largest content.

    Raises:
        ImageFetchError: InvalidReference: malformed. FormatNotAllowed: it says that it is something else than an image.
            TooManyBytes: the content is larger.
    """
    comma = reference.find(",", 0, _MAX_HEADER_CHARACTERS)
    if comma < 0 or not reference[: len(_SCHEME)].lower() == _SCHEME or "#" in reference[:comma]:
        raise ImageFetchError(ImageFault.INVALID_REFERENCE, "expected a data URL such as data:image/png;base64,...")
    media_type, *parameters = ("".join(part.split()).lower() for part in reference[len(_SCHEME) : comma].split(";"))
    if not media_type.startswith("image/") and media_type not in _GENERIC_MEDIA_TYPES:
        raise ImageFetchError(ImageFault.FORMAT_NOT_ALLOWED, "a data URL whose media type is not one of an image")
    start, end = comma + 1, reference.find("#", comma)
    end = len(reference) if end < 0 else end
    is_base64 = bool(parameters) and parameters[-1] == "base64"
    if _count_least_bytes(reference, start, end, is_base64=is_base64) > max_bytes:
        raise _too_large(max_bytes)
    try:
        content = _unescape(reference[start:end].encode("ascii"))
    except UnicodeEncodeError as error:
        raise ImageFetchError(ImageFault.INVALID_REFERENCE, "a data URL with other characters than ASCII") from error
    if is_base64:
        content = _decode_base64(content, max_bytes=max_bytes)
    if len(content) > max_bytes:
        raise _too_large(max_bytes)
    return content


def _count_least_bytes(reference: str, start: int, end: int, *, is_base64: bool) -> int:
    """Return how many bytes of content there are at least, without a copy of anything.

    Args:
        reference: the data URL.
        start: where its content begins.
        end: where it ends.
        is_base64: the content is in base64.
    """
    num_blanks = sum(reference.count(blank, start, end) for blank in _BLANKS)
    num_escapes = reference.count("%", start, end)
    if not is_base64:
        return end - start - num_blanks - 2 * num_escapes
    # Each escape may stand for a blank. Four characters hold three bytes; of the last four, up to two are padding.
    return (end - start - num_blanks - 3 * num_escapes) // 4 * 3 - 2


def _too_large(max_bytes: int) -> ImageFetchError:
    return ImageFetchError(ImageFault.TOO_MANY_BYTES, f"a data URL of more than {max_bytes} bytes")


def _unescape(content: bytes) -> bytes:
    """Return content with each escape as the byte that it stands for, and without line breaks outside of them."""
    content = content.translate(None, b"\t\n\r")
    if _ESCAPE not in content:
        return content
    # The library's function takes a piece of text, of fifty bytes and more, for each escape.
    values = np.frombuffer(content + b"  ", dtype=np.uint8).copy()
    (at,) = np.nonzero(values == _ESCAPE)
    upper, lower = _DIGITS[values[at + 1]], _DIGITS[values[at + 2]]
    is_escape = (upper >= 0) & (lower >= 0)
    at = at[is_escape]
    values[at] = (upper * 16 + lower)[is_escape]
    kept = np.ones(len(values), dtype=bool)
    kept[at + 1] = kept[at + 2] = kept[-2:] = False
    return values[kept].tobytes()


def _decode_base64(content: bytes, *, max_bytes: int) -> bytes:
    """Decode as browsers do: no blanks, and padding that is either whole or not there.

    Raises:
        ImageFetchError: InvalidReference, TooManyBytes.
    """
    letters = content.translate(_URL_SAFE, _BLANKS.encode())
    if len(letters) % 4 == 0:
        # At most two, and the rest has to be letters.
        letters = letters.removesuffix(b"=").removesuffix(b"=")
    if len(letters) // 4 * 3 > max_bytes:
        raise _too_large(max_bytes)
    try:
        if b"=" in letters:
            raise binascii.Error("padding in the middle")
        return base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
    except binascii.Error as error:
        raise ImageFetchError(ImageFault.INVALID_REFERENCE, "a data URL that is not in base64") from error
