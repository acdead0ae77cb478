"""JPEGs whose end is missing, completed as programs that show them do, and how much of the picture is not in them.

The end marker alone is often missing: uploads and cameras lose it, and every viewer shows such a file. Where there is
one, it says nothing: an upload that broke off may have been closed with it. What a decoder still asks for decides.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

_END = b"\xff\xd9"
_LAST_COEFFICIENT = 63
_REDUCTION = 8
"""Pictures of one scan are compared at an eighth of their size: a pixel then is the mean of a block as it is stored."""
_SHARE_OF_NOISE = 1 / 16
"""Of the picture: more than may be missing."""
_BYTES_PER_PIXEL = 3
"""Of noise: with it a block of 64 pixels is full after 64 bytes at most, and a pixel is in three of them."""
_MIN_NOISE_BYTES = 4_096

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
"""One that begins a segment; neither FF as a value nor what only divides a scan."""
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_SCAN_MARKER, _END_MARKER, _BEGIN_MARKER, _INTERVAL_MARKER = 0xDA, 0xD9, 0xD8, 0xDD
_LARGEST_UNIT = 10 * 64
"""Values in one of the units that restart intervals are counted in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegBody:
    """The bytes of a JPEG up to the end of its last scan, be it a marker or where the file breaks off."""

    data: bytes
    has_end: bool
    last_scan: int
    """Where the last of its scans begins."""
    num_scans: int
    restart_interval: int
    """Units between two restart markers; 0 where there are none."""

    @property
    def has_every_scan(self) -> bool:
        """The last scan that has begun stores fine detail down to the last bit; coarser ones come before it."""
        # Behind the marker: the size, the number of components, two bytes for each, the first and last coefficient,
        # and which bits of them.
        at = self.last_scan + 4
        parameters = self.data[at + 1 + 2 * self.data[at] :][:3] if at < len(self.data) else b""
        return len(parameters) == 3 and parameters[1] == _LAST_COEFFICIENT and parameters[2] & 15 == 0

    def completed(self) -> bytes:
        """Returns the file with an end marker: decoders put grey, or what stood there last, for what is missing."""
        return self.data + _END

    def measure_missing(self) -> float:
        """Returns the share of the picture, in [0, 1], that depends on what comes after the body.

        Decodes the file twice, with its end marker alone and with noise before it: what is in the file is equal in
        both. Shares of more than a twentieth may be found too small.

        Raises:
            Exception: whatever Pillow raises; the size of the picture has to be checked before.
        """
        width, height = JpegImageFile(io.BytesIO(self.completed())).size
        num_bytes = max(_MIN_NOISE_BYTES, int(width * height * _SHARE_OF_NOISE * _BYTES_PER_PIXEL))
        with_noise = self.data + self._make_noise(num_bytes) + _END
        # In scans behind the first one may be what no mean of a block shows: finer detail, or colours.
        decode = _decode_small if self.num_scans == 1 else _decode
        return float((decode(self.completed()) != decode(with_noise)).any(axis=2).mean())

    def _make_noise(self, num_bytes: int) -> bytes:
        random = np.random.default_rng(0)

        def draw(size: int) -> bytes:
            # No 255: that would begin a marker.
            return random.integers(0, 255, size, dtype=np.uint8).tobytes()

        if not self.restart_interval:
            return draw(num_bytes)
        # Decoders fill no more than one interval without a restart marker, and skip what one has too much. Each has
        # other noise: some says that nothing comes until the next one.
        size = min(self.restart_interval * _LARGEST_UNIT, num_bytes)
        last = [found[0][1] for found in _RESTART.finditer(self.data, self.last_scan)][-1:]
        number = last[0] - 0xD0 + 1 if last else 0
        return b"".join(draw(size) + bytes([0xFF, 0xD0 + (number + at) % 8]) for at in range(-(-num_bytes // size) + 1))


def find_body(data: bytes) -> JpegBody | None:
    """Returns what a JPEG has of its picture; None where it has not even the beginning of one."""
    num_scans = last_scan = restart_interval = 0
    scan_end = None
    has_end = False
    for marker, at in _segments(data):
        if num_scans and scan_end is None:
            scan_end = at
        if marker == _SCAN_MARKER:
            num_scans, last_scan, scan_end = num_scans + 1, at, None
        elif marker == _INTERVAL_MARKER:
            restart_interval = int.from_bytes(data[at + 4 : at + 6], "big")
        elif marker == _END_MARKER and num_scans:
            has_end = True
            break
    if not num_scans:
        return None
    return JpegBody(
        # Half a marker would swallow what is put behind it.
        data=data[:scan_end].removesuffix(b"\xff"),
        has_end=has_end,
        last_scan=last_scan,
        num_scans=num_scans,
        restart_interval=restart_interval,
    )


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yields the markers that begin a segment and where they are; what stands inside segments is none of them."""
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = found[0][1], found.start()
        yield marker, at
        has_length = marker not in {_BEGIN_MARKER, _END_MARKER}
        at += 2 + (int.from_bytes(data[at + 2 : at + 4], "big") if has_length else 0)


def _decode(data: bytes) -> np.ndarray:
    return np.atleast_3d(np.asarray(JpegImageFile(io.BytesIO(data))))


def _decode_small(data: bytes) -> np.ndarray:
    image = JpegImageFile(io.BytesIO(data))
    image.draft("L", (max(1, image.width // _REDUCTION), max(1, image.height // _REDUCTION)))
    return np.atleast_3d(np.asarray(image))
