"""Pictures made in the test itself, as bytes of a format."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageDraw, ImageFont

Colour = str | tuple[int, ...]


def typeset(
    *lines: str,
    size: tuple[int, int] = (640, 320),
    font_size: int = 36,
    ink: Colour = "black",
    ground: Colour = "white",
    origin: tuple[int, int] = (30, 30),
    font: Path | None = None,
) -> Image.Image:
    """Returns lines of text, one below the other."""
    picture = Image.new("RGB", size, ground)
    write(picture, *lines, font_size=font_size, ink=ink, origin=origin, font=font)
    return picture


def write(
    picture: Image.Image,
    *lines: str,
    font_size: int = 36,
    ink: Colour = "black",
    origin: tuple[int, int] = (30, 30),
    font: Path | None = None,
) -> None:
    """Writes lines onto a picture, in a font that has the letters of several scripts or in Pillow's own."""
    letters = ImageFont.truetype(font, font_size) if font else ImageFont.load_default(font_size)
    left, top = origin
    for position, line in enumerate(lines):
        ImageDraw.Draw(picture).text((left, top + position * 1.5 * font_size), line, fill=ink, font=letters)


def encode(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """Returns a picture as a file of a format."""
    content = io.BytesIO()
    if form == "HEIF":  # Pillow would write it only with a plugin that is registered for the whole process
        pillow_heif.from_pillow(picture).save(content, **options)
    else:
        picture.copy().save(content, form, **options)  # Pillow keeps a format's options in the picture
    return content.getvalue()


def animate(pictures: Sequence[Image.Image], form: str = "GIF") -> bytes:
    """Returns pictures as the frames, or pages, of one file."""
    if form == "HEIF":
        file = pillow_heif.HeifFile()  # type: ignore[no-untyped-call]  # it leaves that untyped
        for picture in pictures:
            file.add_from_pillow(picture)
        content = io.BytesIO()
        file.save(content)
        return content.getvalue()
    # Lossy ones would make two frames of equal pictures differ.
    options: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}
    return encode(pictures[0], form, save_all=True, append_images=list(pictures[1:]), **options.get(form, {}))


def noise(size: tuple[int, int] = (120, 90), seed: int = 0) -> Image.Image:
    """Returns a picture that no format makes small."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)
