"""Parts of messages that are no text, as SDKs and servers write them: images in their forms, and what nothing reads."""

from collections.abc import Callable

from pydantic import JsonValue

from protector_models.moderation.messages.blanks import is_there
from protector_models.moderation.messages.message import ImagePart, ImageUrl, TextPart, UnreadKind
from protector_models.moderation.messages.pieces import Piece, Tally, Written, first_of, to_text

_IMAGE_URL_FIELDS = frozenset({"url", "detail"})
_MEDIA_TYPE_FIELDS = ("media_type", "mime_type", "mimeType", "mediaType", "contentType", "content_type", "format")


def read_image_url(part: Written, tally: Tally) -> list[Piece]:
    """Read an image of OpenAI's: a URL by itself, or with a hint beside it, or the id of a file."""
    url = part.get("image_url")
    if not isinstance(url, dict):
        return [_image(url, tally, part.get("detail"))]
    tally.ignored += sum(name not in _IMAGE_URL_FIELDS for name in url)
    if url.get("url") is None:
        return [tally.miss(UnreadKind.MALFORMED)]
    return [_image(url["url"], tally, url.get("detail"))]


def read_image(part: Written, tally: Tally) -> list[Piece]:
    """Read an image that has its bytes or its address in the part, or in a field inside it; where in both, as two."""
    images = [
        image
        for name in ("source", "image", "image_url")
        if is_there(inner := part.get(name))
        for image in read_pictures(inner, tally)
    ]
    media_type = first_of(part, *_MEDIA_TYPE_FIELDS)
    images += [
        _image(_data_url(media_type, data), tally)
        for name in ("data", "base64", "bytes")
        if isinstance(data := part.get(name), str) and data
    ]
    if part.get("url") is not None:
        images.append(_image(part["url"], tally))
    return images or [tally.miss(UnreadKind.IMAGE)]


def read_pictures(pictures: JsonValue, tally: Tally) -> list[Piece]:
    """Read what is known to be pictures: addresses, bytes in base64, or objects with one of these."""
    if isinstance(pictures, list):
        return [image for picture in pictures for image in read_pictures(picture, tally)]
    if isinstance(pictures, dict):
        return read_image(pictures, tally)
    # No address is without a colon, and base64 has none.
    if isinstance(pictures, str) and pictures and ":" not in pictures:
        pictures = _data_url(None, pictures)
    return [_image(pictures, tally)]


def read_attachments(attachments: JsonValue, tally: Tally) -> list[Piece]:
    """Read what is attached to a message, where it is an image."""
    if isinstance(attachments, list):
        return [piece for attachment in attachments for piece in read_attachments(attachment, tally)]
    if not isinstance(attachments, dict):
        return [tally.miss(UnreadKind.FILE)]
    media_type, url = first_of(attachments, *_MEDIA_TYPE_FIELDS, "type"), attachments.get("url")
    is_image = "image_url" in attachments or (isinstance(url, str) and url.lower().startswith("data:image/"))
    kind = UnreadKind.IMAGE if is_image else _kind_of(media_type)
    return read_image(attachments, tally) if kind is UnreadKind.IMAGE else [tally.miss(kind)]


def _data_url(media_type: JsonValue, data: str) -> str:
    if data.startswith("data:"):
        return data
    name = media_type if isinstance(media_type, str) else "png"
    return f"data:{name if '/' in name else f'image/{name}'};base64,{data}"


def read_document(part: Written, tally: Tally) -> list[Piece]:
    """Read a document of Anthropic's where it is plain text."""
    source = part.get("source")
    if isinstance(source, dict) and source.get("type") == "text":
        return [to_text(source.get("data"), tally)]
    return [tally.miss(UnreadKind.DOCUMENT)]


def read_inline_data(inline: JsonValue, tally: Tally) -> list[Piece]:
    """Read bytes of Gemini's where they are an image."""
    if not isinstance(inline, dict) or not isinstance(data := inline.get("data"), str):
        return [tally.miss(UnreadKind.MALFORMED)]
    media_type = first_of(inline, "mimeType", "mime_type")
    kind = _kind_of(media_type)
    return [_image(_data_url(media_type, data), tally) if kind is UnreadKind.IMAGE else tally.miss(kind)]


def read_file_data(file: JsonValue, tally: Tally) -> list[Piece]:
    """Read a reference of Gemini's where it leads to an image."""
    if not isinstance(file, dict):
        return [tally.miss(UnreadKind.MALFORMED)]
    kind = _kind_of(first_of(file, "mimeType", "mime_type"))
    return [_image(first_of(file, "fileUri", "file_uri"), tally) if kind is UnreadKind.IMAGE else tally.miss(kind)]


def read_audio(audio: JsonValue, tally: Tally) -> list[Piece]:
    """Return what was said aloud: nothing hears it, but it may be written down beside it."""
    transcript = audio.get("transcript") if isinstance(audio, dict) else None
    said: list[Piece] = [TextPart(type="text", text=transcript)] if isinstance(transcript, str) else []
    return [*said, tally.miss(UnreadKind.AUDIO)]


def _kind_of(media_type: JsonValue) -> UnreadKind:
    name = media_type.lower() if isinstance(media_type, str) else ""
    family = name.partition("/")[0]
    if family in {"audio", "video", "image"}:
        return UnreadKind(family)
    return UnreadKind.DOCUMENT if name == "application/pdf" else UnreadKind.FILE


def _image(url: JsonValue, tally: Tally, detail: JsonValue = None) -> Piece:
    if url is None:
        return tally.miss(UnreadKind.IMAGE)
    if not isinstance(url, str) or not url:
        return tally.miss(UnreadKind.MALFORMED)
    hint = detail if isinstance(detail, str) else None
    return ImagePart(type="image_url", image_url=ImageUrl(url=url, detail=hint))


def read_unread(part: Written, tally: Tally) -> list[Piece]:
    """Read what Weir itself writes for a part that it could not read."""
    kind = part.get("kind")
    return [tally.miss(UnreadKind(kind) if kind in list(UnreadKind) else UnreadKind.UNKNOWN)]


def read_nothing_of(kind: UnreadKind) -> Callable[[object, Tally], list[Piece]]:
    """Return what stands for parts of a kind that nothing reads."""
    return lambda _, tally: [tally.miss(kind)]
