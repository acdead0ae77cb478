"""Images: their bytes, what was read of them, and why one could not be fetched or read."""

import base64
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from protector_models.moderation.conversation import NOT_READ
from protector_models.moderation.messages.message import Text
from protector_models.moderation.model_outputs import Score


class ImageFault(StrEnum):
    """Why an image is unread: the only values of `ItemFailure.error` for images.

    Messages beside them hold no query string of a reference and nothing of a content.
    """

    INVALID_REFERENCE = "InvalidReference"
    """Neither a URL of a known form nor a data URL that can be decoded."""
    REFERENCE_NOT_ALLOWED = "ReferenceNotAllowed"
    """The scheme, host, port, bucket or folder is not among those that are configured."""
    ADDRESS_NOT_ALLOWED = "AddressNotAllowed"
    """The host's name leads to a private, loopback, link-local or otherwise special address."""
    REDIRECT_NOT_ALLOWED = "RedirectNotAllowed"
    """A redirect to where a reference may not lead, or too many of them."""
    FETCH_TIMEOUT = "FetchTimeout"
    FETCH_FAILED = "FetchFailed"
    """The host refused, failed, or has no such image."""
    TOO_MANY_BYTES = "TooManyBytes"
    TOO_MANY_PIXELS = "TooManyPixels"
    TOO_MANY_FRAMES = "TooManyFrames"
    TOO_MANY_IMAGES = "TooManyImages"
    """The conversation has more images than are looked at; those before the last ones are unread."""
    FORMAT_NOT_ALLOWED = "FormatNotAllowed"
    """Not one of the raster formats that are read: SVG, HTML, PDF, whatever it pretends to be."""
    CORRUPT_IMAGE = "CorruptImage"
    TEXT_NOT_READ = "TextNotRead"
    """Looking for text in it failed or took too long, or every process that was to read it died."""
    TEXT_NOT_UNDERSTOOD = "TextNotUnderstood"
    """Text was found in it, and much of it is in a script that the models do not know, or cannot be made out."""
    IMAGES_NOT_READ = NOT_READ
    """Reading is switched off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContent:
    """An image as it was fetched."""

    data: bytes
    media_type: str
    """Such as "image/png": told from the first bytes, never from what a server said."""
    sha256: str
    """Of the bytes: 64 hexadecimal characters."""

    def data_url(self) -> str:
        """Return the image as a data URL."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"


class ImageReading(BaseModel):
    """What was read of an image: a model output, kept in the verdict cache under the reader's revision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the bytes."""
    perceptual_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """Close in Hamming distance for pictures that look alike."""
    width: Annotated[int, Field(ge=1)]
    """In pixels, as shown."""
    height: Annotated[int, Field(ge=1)]
    text: Text
    """What stands in the picture, line by line; empty where no text does."""
    categories: dict[str, Score] = Field(default_factory=dict)
    """A score for each category that the image classifier knows; none without a classifier."""
    known_as: str | None = None
    """The entry of the list of known images that it equals or resembles; None where there is none."""
    is_cut: bool = False
    """The end of its file is missing, and at most a hundredth of the picture with it: read as programs show it."""
    reader: str
    """The reader, "name@revision"."""
