"""Which raster format some bytes are in, told from the first of them."""

SIGNATURES_BYTES = 12
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
    return None


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
