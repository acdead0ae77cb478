"""Opens what lines of JSON are read from: plain, or packed by gzip or zstd; refuses what holds none."""

import io
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import zstandard

from protector_models.moderation.errors import ConfigurationError

STANDARD_STREAM = Path("-")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_HEAD_BYTES = 1 << 20
"""No more than this is looked at before reading begins."""
_PIECE_BYTES = 1 << 10
"""Packed bytes that are unpacked at once: zstd makes up to 32,768 times as many of them."""
_ENCODINGS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""By byte order mark; the longer ones first."""
_OTHER_FORMS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"PAR1": "Parquet",
    b"Obj\x01": "Avro",
}
"""By first bytes: forms in which such data travels and that are not read."""
_OBJECTS_ON_ONE_LINE = re.compile(rb"\}[ \t]*\r\s*\{")
"""Two objects with a carriage return between them: in JSON that stands nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonlInput:
    """What lines are read from."""

    stream: io.BufferedIOBase
    size_bytes: int | None
    """What can be read of it; None where that is not known beforehand."""


class _Unpacks(Protocol):
    """A decompressor of one stream, as zlib and zstandard have them."""

    @property
    def eof(self) -> bool:
        """Whether the end was reached."""

    @property
    def unused_data(self) -> bytes:
        """What follows behind the end."""

    def decompress(self, data: bytes, /) -> bytes:
        """Unpack what comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packing:
    name: str
    first_bytes: bytes
    start: Callable[[], _Unpacks]


_PACKINGS = (
    _Packing(name="gzip", first_bytes=b"\x1f\x8b", start=lambda: zlib.decompressobj(wbits=31)),
    _Packing(
        name="zstd",
        first_bytes=b"\x28\xb5\x2f\xfd",
        start=lambda: cast("_Unpacks", zstandard.ZstdDecompressor().decompressobj()),
    ),
)


@contextmanager
def open_jsonl(source: Path) -> Iterator[JsonlInput]:
    """Yield what a file or, for `-`, standard input holds; packed files are told by their first bytes.

    Reading raises `ConfigurationError` where packed data is damaged or cut, after all whole lines before that.

    Raises:
        ConfigurationError: it is in another encoding than UTF-8 or of another form than one JSON object a line.
        OSError: it cannot be read.
    """
    with ExitStack() as stack:
        opened = sys.stdin.buffer if source == STANDARD_STREAM else stack.enter_context(source.open("rb"))
        name = "standard input" if source == STANDARD_STREAM else str(source)
        size_bytes = source.stat().st_size if source.is_file() else None
        head, stream = _look_ahead(cast("io.BufferedIOBase", opened))
        packing = next((packing for packing in _PACKINGS if head.startswith(packing.first_bytes)), None)
        if packing is not None:
            size_bytes = None
            head, stream = _look_ahead(io.BufferedReader(_Unpacked(stream, packing, name)))
        _require_lines_of_json(head, name)
        yield JsonlInput(stream=stream, size_bytes=size_bytes)


def _look_ahead(stream: io.BufferedIOBase) -> tuple[bytes, io.BufferedReader]:
    """Return what stands up to the end of the first line that is not blank, and a stream that begins there anew.

    No more is waited for: whoever writes into a pipe may write one line and wait for its result.
    """
    head = b""
    while line := stream.readline(_HEAD_BYTES - len(head)):
        head += line
        if line.removeprefix(_BYTE_ORDER_MARK).strip(_BLANKS) or len(head) >= _HEAD_BYTES:
            break
    return head, io.BufferedReader(_Rejoined(head, stream))


class _Rejoined(io.RawIOBase):
    """What was read ahead of a stream, and the rest of it."""

    def __init__(self, head: bytes, rest: io.BufferedIOBase) -> None:
        self._head = io.BytesIO(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # typeshed has a wider Buffer
        return self._head.readinto(buffer) or self._rest.readinto1(buffer)


class _Unpacked(io.RawIOBase):
    """What a packed stream holds, of one packed part or of several, one behind the other."""

    def __init__(self, packed: io.BufferedIOBase, packing: _Packing, name: str) -> None:
        self._packed = packed
        self._packing = packing
        self._name = name
        self._unpacker = packing.start()
        self._rest = b""
        self._ready = io.BytesIO()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # typeshed has a wider Buffer
        while not (num_bytes := self._ready.readinto(buffer)):
            piece = self._rest or self._packed.read1(_PIECE_BYTES)
            self._rest = b""
            if not piece:
                self._require_end()
                return 0
            self._unpack(piece)
        return num_bytes

    def _unpack(self, piece: bytes) -> None:
        if self._unpacker.eof:
            piece = piece.lstrip(b"\x00")  # tapes and some archives are filled up with them
            if not piece:
                return
            self._unpacker = self._packing.start()
        try:
            self._ready = io.BytesIO(self._unpacker.decompress(piece))
        except (zlib.error, zstandard.ZstdError) as error:
            raise self._damaged(f"is damaged: {error}") from error
        self._rest = self._unpacker.unused_data

    def _require_end(self) -> None:
        if not self._unpacker.eof:
            raise self._damaged("ends in the middle")

    def _damaged(self, problem: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._name}: what {self._packing.name} packed {problem}; whole lines before that are moderated"
        )


def _require_lines_of_json(head: bytes, name: str) -> None:
    """Refuse what would give an error for every line of it.

    Raises:
        ConfigurationError: the message says what it looks like and what was expected.
    """
    for first_bytes, encoding in _ENCODINGS.items():
        if head.startswith(first_bytes):
            raise ConfigurationError(f"{name}: is {encoding} by its byte order mark; expected UTF-8")
    for first_bytes, form in _OTHER_FORMS.items():
        if head.startswith(first_bytes):
            raise ConfigurationError(
                f"{name}: is {form} by its first bytes; expected lines of JSON, plain, gzip or zstd"
            )
    if b"\x00" in head[:4]:
        raise ConfigurationError(f"{name}: has NUL among its first bytes, as UTF-16 has; expected UTF-8")
    text = head.removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANKS)
    if text.startswith(b"["):
        raise ConfigurationError(f"{name}: begins with '[': one JSON object a line expected, got an array")
    if text.rstrip(_BLANKS) == b"{" and text != b"{":
        raise ConfigurationError(f"{name}: one JSON object a line expected, got one that goes on for several lines")
    if _OBJECTS_ON_ONE_LINE.search(text):
        raise ConfigurationError(
            f"{name}: lines end with a carriage return alone; expected a newline, or both, at the end of each line"
        )
