"""Decoding images within limits, into what a program that shows them may make of them.

An image can look different in different programs: one lays transparent pixels on white, one on black, one forgets that
they are transparent; one stretches 16-bit values, one cuts them off; one obeys a flag that mirrors the picture. Text
that only one of them shows would be missed in the others, so all of these *views* are made and read.
"""

import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile

from protector_models.images.cut_jpegs import JpegBody, find_body
from protector_models.images.formats import SIGNATURES_BYTES, sniff_media_type
from protector_models.moderation.images import ImageFault
from protector_models.moderation.model_outputs import ItemFailure

Pixels = npt.NDArray[np.uint8]
"""Height x width x 3: red, green, blue."""

MAX_VIEW_SIDE = 2_000
"""Pixels of a view's longer side; larger pictures are shrunk to it, so that the work on one is bounded. Models that
answer about pictures shrink them further. Of one that is more than twice as long as wide, such as a scrolling
screenshot, the shorter side is shrunk to half of it: its letters are as large as those of another picture."""
MAX_SIDE_OF_MANY = 1_280
"""The same where a picture has many views."""
_MANY_VIEWS = 4
_MAX_DETAIL_PIXELS = 16_000_000
"""Of a view at its full size: a screen of 5,120 x 2,880 has less."""
_MAX_PIXELS_OF_DETAILS = 48_000_000
"""Of all views of a picture at their full sizes."""

_MAX_MISSING = 0.01
"""Share of a picture that may be missing from a file that is cut off: of a thousand rows ten, which hold no line of
letters that would be read."""
_ROWS_AT_ONCE = 64

_PNG_END = b"IEND"
_ORIENTATION_TAG = 0x0112
_TURNS: Mapping[int, tuple[Image.Transpose, ...]] = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_270,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_90,),
}
"""What shows a picture upright, by the EXIF orientation that its camera noted."""
_MIRRORED = frozenset({2, 4, 5, 7})

# The plugins themselves, in place of Image.open: that warns of large pictures through a filter of the whole process,
# and would ask every plugin in turn.
_OPENERS: Mapping[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "image/png": PngImageFile,
    "image/jpeg": JpegImageFile,
    "image/gif": GifImageFile,
    "image/webp": WebPImageFile,
    "image/bmp": BmpImageFile,
    "image/tiff": TiffImageFile,
    "image/heic": HeifImageFile,
    "image/avif": AvifImageFile,
}


class UnreadImageError(Exception):
    """One image was not read. It ends as the failure of that image, and leaves this package as a value."""

    def __init__(self, fault: ImageFault, message: str) -> None:
        """Say what went wrong, without any content."""
        super().__init__(fault, message)
        self.fault = fault
        self.message = message

    def as_failure(self) -> ItemFailure:
        """Return what stands in the place of the image."""
        return ItemFailure(error=self.fault, message=self.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingLimits:
    """Bounds of what is decoded."""

    formats: frozenset[str]
    """Such as "png"."""
    max_pixels: int
    """Of all frames together."""
    max_side: int
    max_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A decoded image."""

    width: int
    """Of the first frame, in pixels, as shown."""
    height: int
    views: tuple[Pixels, ...]
    """At least one, all different; the first is the first frame as most programs show it. None has a longer side of
    more than `MAX_VIEW_SIDE`, but for those whose shorter side has at most half of it."""
    details: tuple[Pixels | None, ...]
    """The same views before they were shrunk, of 16 million pixels at most; None where a view was not."""
    is_cut: bool = False
    """The end of its file is missing, and at most a hundredth of the picture with it."""


def decode_picture(data: bytes, limits: DecodingLimits) -> Picture:
    """Decodes every frame; sizes are checked before a pixel is.

    Raises:
        UnreadImageError: the image is of another format, too large, or damaged in any part. A JPEG or PNG of which all
            but the very end is there is none of these.
    """
    media_type = sniff_media_type(data[:SIGNATURES_BYTES])
    if media_type is None or media_type.removeprefix("image/") not in limits.formats:
        raise UnreadImageError(
            ImageFault.FORMAT_NOT_ALLOWED, f"expected one of {', '.join(sorted(limits.formats))}, got {media_type}"
        )
    try:
        body = find_body(data) if media_type == "image/jpeg" else None
        is_cut = media_type == "image/png" and _PNG_END not in data
        with _OPENERS[media_type](io.BytesIO(body.completed() if body else data)) as image:
            picture = _decode(image, limits, is_cut=is_cut)
        return picture if body is None else replace(picture, is_cut=_is_cut(body))
    except UnreadImageError:
        raise
    except Exception as error:  # damaged data makes decoders raise nearly anything
        raise UnreadImageError(
            ImageFault.CORRUPT_IMAGE, f"{media_type} that cannot be decoded: {type(error).__name__}"
        ) from error


def _is_cut(body: JpegBody) -> bool:
    """Tells whether a JPEG lacks its very end; one that lacks more is an error."""
    missing = body.measure_missing()
    is_cut = not body.has_end or missing > 0
    # Of a file that is not cut, few scans may be all there ever were.
    if missing > _MAX_MISSING or (is_cut and not body.has_every_scan):
        raise UnreadImageError(ImageFault.CORRUPT_IMAGE, "image/jpeg that is cut off: expected all but its very end")
    return is_cut


def _decode(image: ImageFile.ImageFile, limits: DecodingLimits, *, is_cut: bool) -> Picture:
    views: dict[bytes, Pixels] = {}
    size: tuple[int, int] | None = None
    for frame in _frames(image, limits):
        for view in _show(frame):
            size = size or view.size
            pixels = np.asarray(_fit(view, _MAX_DETAIL_PIXELS))
            # As keys the pixels themselves would be kept twice.
            views.setdefault(
                pixels.shape[0].to_bytes(4, "big") + hashlib.sha256(np.ascontiguousarray(pixels).data).digest(), pixels
            )
    if size is None:
        raise UnreadImageError(ImageFault.CORRUPT_IMAGE, "expected at least one frame, got none")
    shown = [np.asarray(_shrink(Image.fromarray(view), MAX_VIEW_SIDE)) for view in views.values()]
    if len(shown) >= _MANY_VIEWS:
        shown = [np.asarray(_shrink(Image.fromarray(view), MAX_SIDE_OF_MANY)) for view in shown]
    share = _MAX_PIXELS_OF_DETAILS // len(shown)
    details = [
        None if view.shape == full.shape else np.asarray(_fit(Image.fromarray(full), share))
        for view, full in zip(shown, views.values(), strict=True)
    ]
    return Picture(width=size[0], height=size[1], views=tuple(shown), details=tuple(details), is_cut=is_cut)


def _frames(image: ImageFile.ImageFile, limits: DecodingLimits) -> Iterator[ImageFile.ImageFile]:
    """Yields the image at each of its frames, none of them decoded.

    Frames are not counted beforehand: for some formats that walks through all of them, however many there are.
    """
    num_pixels = 0
    # Where a file has several pictures, one of them is open: the one that programs show.
    first = image.tell()
    positions = [first, *(position for position in range(limits.max_frames + 1) if position != first)]
    for num_frames, position in enumerate(positions):
        _require_side(image.size, limits)
        try:
            image.seek(position)
        except EOFError:
            return
        if num_frames == limits.max_frames:
            raise UnreadImageError(ImageFault.TOO_MANY_FRAMES, f"expected at most {limits.max_frames} frames, got more")
        _require_side(image.size, limits)
        num_pixels += image.size[0] * image.size[1]
        if num_pixels > limits.max_pixels:
            raise UnreadImageError(
                ImageFault.TOO_MANY_PIXELS,
                f"{image.size[0]} x {image.size[1]} in frame {num_frames + 1}: expected at most {limits.max_pixels} "
                "pixels in all frames",
            )
        yield image


def _require_side(size: tuple[int, int], limits: DecodingLimits) -> None:
    if max(size) > limits.max_side or size[0] * size[1] > limits.max_pixels:
        raise UnreadImageError(
            ImageFault.TOO_MANY_PIXELS,
            f"{size[0]} x {size[1]}: expected sides of at most {limits.max_side} and {limits.max_pixels} pixels",
        )


def _show(frame: ImageFile.ImageFile) -> Iterator[Image.Image]:
    """Yields a frame in every way that programs show it, in RGB; the most usual one first."""
    frame.load()
    orientation = frame.getexif().get(_ORIENTATION_TAG, 1)
    for view in _lay_on_grounds(frame):
        turned = view
        for turn in _TURNS.get(orientation, ()):
            turned = turned.transpose(turn)
        yield turned
        # Text that is only turned is read whichever way it stands.
        if orientation in _MIRRORED:
            yield view


def _lay_on_grounds(frame: Image.Image) -> Iterator[Image.Image]:
    if frame.mode.startswith("I") or frame.mode == "F":
        yield from _flatten_deep(frame)
        return
    if not frame.has_transparency_data:
        yield frame.convert("RGB")
        return
    rgba = frame.convert("RGBA")
    # Shrunk apart from each other: together, colours under full transparency would be lost.
    colours = _fit(rgba.convert("RGB"), _MAX_DETAIL_PIXELS)
    alpha = _fit(rgba.getchannel("A"), _MAX_DETAIL_PIXELS)
    for ground in ("white", "black"):
        yield Image.composite(colours, Image.new("RGB", colours.size, ground), alpha)
    yield colours


def _flatten_deep(frame: Image.Image) -> Iterator[Image.Image]:
    """Yields a picture of more than 8 bits stretched to its own range, and cut off at 255."""
    values = np.asarray(frame)
    least = min(float(rows.min()) for _, rows in _exact_rows(values))
    greatest = max(float(rows.max()) for _, rows in _exact_rows(values))
    for ground, scale in ((least, 255.0 / max(greatest - least, 1e-9)), (0.0, 1.0)):
        shown = np.empty(values.shape, dtype=np.uint8)
        for top, rows in _exact_rows(values):
            shown[top : top + len(rows)] = ((rows - ground) * scale).clip(0, 255)
        yield Image.fromarray(shown).convert("RGB")


def _exact_rows(values: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Yields values as numbers that hold each of them exactly, a few rows at a time and where these begin.

    All at once they would take eight times the memory of the view that is made of them.
    """
    for top in range(0, len(values), _ROWS_AT_ONCE):
        rows = values[top : top + _ROWS_AT_ONCE].astype(np.float64)
        yield top, np.nan_to_num(rows, posinf=0.0, neginf=0.0)


def _shrink(image: Image.Image, max_side: int) -> Image.Image:
    """Returns an image whose longer side is at most that long, or whose shorter side is at most half as long."""
    return _scale(image, max(max_side / max(image.size), max_side / 2 / min(image.size)))


def _fit(image: Image.Image, max_pixels: int) -> Image.Image:
    return _scale(image, math.sqrt(max_pixels / (image.width * image.height)))


def _scale(image: Image.Image, scale: float) -> Image.Image:
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
