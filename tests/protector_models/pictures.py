"""Pictures made in the test itself, as bytes of a format."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = str | tuple[int, ...]


def typeset(
    *lines: str,
    size: tuple[int, int] = (640, 320),
    font_size: int = 36,
    ink: Colour = "black",
    ground: Colour = "white",
    origin: tuple[int, int] = (30, 30),
) -> Image.Image:
    """Returns lines of text, one below the other."""
    picture = Image.new("RGB", size, ground)
    write(picture, *lines, font_size=font_size, ink=ink, origin=origin)
    return picture


def write(
    picture: Image.Image, *lines: str, font_size: int = 36, ink: Colour = "black", origin: tuple[int, int] = (30, 30)
) -> None:
    """Writes lines onto a picture."""
    left, top = origin
    for position, line in enumerate(lines):
        ImageDraw.Draw(picture).text(
            (left, top + position * 1.5 * font_size), line, fill=ink, font=ImageFont.load_default(font_size)
        )


def encode(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """Returns a picture as a file of a format."""
    content = io.BytesIO()
    picture.copy().save(content, form, **options)  # Pillow keeps a format's options in the picture
    return content.getvalue()


def animate(pictures: Sequence[Image.Image], form: str = "GIF") -> bytes:
    """Returns pictures as the frames, or pages, of one file."""
    # Lossy WebP would make two frames of equal pictures differ.
    lossless = {"lossless": True} if form == "WEBP" else {}
    return encode(pictures[0], form, save_all=True, append_images=list(pictures[1:]), **lossless)


def noise(size: tuple[int, int] = (120, 90), seed: int = 0) -> Image.Image:
    """Returns a picture that no format makes small."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)
