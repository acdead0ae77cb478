"""Raster formats of images, told from their first bytes."""

FORMATS_IN_WORDS = "PNG, JPEG, GIF, WebP, BMP, TIFF, HEIC or AVIF"

SIGNATURES_BYTES = 64
"""How many of the first bytes the format is told from."""


def sniff_media_type(head: bytes) -> str | None:
    """Return the media type of an image; None where the bytes begin like none that is read.

    What a server, a data URL or a file name says takes no part in it: a decoder would not listen to that either.

    Args:
        head: the first bytes, `SIGNATURES_BYTES` of them or all.
    """
    for signature, media_type in _SIGNATURES:
        if head.startswith(signature):
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    # Two letters, and bytes that writers leave at zero: without these many a text would begin like a bitmap.
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "image/bmp"
    if head[4:8] == b"ftyp":
        return _sniff_brands(head)
    return None


def _sniff_brands(head: bytes) -> str | None:
    """Return the media type by the brands in the first box of a file of boxes, the major one first."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))]
    named = (_BRANDS[brand] for brand in brands if brand in _BRANDS)
    # A brand of the container alone says nothing of what is in it; files without another are in HEVC.
    return next(named, "image/heic" if {b"mif1", b"msf1"} & set(brands) else None)


_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "image/heic"),
}

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
