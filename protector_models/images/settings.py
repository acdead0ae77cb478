"""Settings of the images: from where they may be fetched, and how they are read."""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from protector_models.settings import Device

ImageScheme = Literal["data", "https", "http", "s3", "file"]
ImageFormat = Literal["png", "jpeg", "gif", "webp", "bmp", "tiff", "heic", "avif"]

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_PATTERN = re.compile(rf"\*|(\*\.)?{_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]+\]")


def _require_host_pattern(pattern: str) -> str:
    pattern = pattern.lower()
    if not _HOST_PATTERN.fullmatch(pattern):
        raise ValueError("expected a host such as img.example.org, all under one such as *.example.org, or * for any")
    return pattern


HostPattern = Annotated[str, AfterValidator(_require_host_pattern)]
"""A host, `*.` and a domain for all hosts under it, or `*` for any host. Names in other scripts in their xn-- form,
IPv6 addresses in brackets."""


class ObjectStoreSettings(BaseModel):
    """Where s3:// references lead. Without keys, those that boto3 finds are used."""

    # The error of a missing key would show the other one.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    endpoint_url: Annotated[str, Field(pattern=r"^https?://[^@\s?#]+$")] | None = None
    """An S3-compatible store; null is AWS. Its address is not checked, since nobody but this setting names it."""
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None

    @model_validator(mode="after")
    def _require_whole_key(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("expected access_key_id and secret_access_key both, or neither")
        return self


class FetchSettings(BaseModel):
    """Which images may be fetched, from where, and how much of them (`docs/images.md`)."""

    # An error would show the keys of the object store.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    schemes: tuple[ImageScheme, ...] = ("data",)
    """Forms of references that are followed; by default only data URLs, which need no network."""
    hosts: tuple[HostPattern, ...] = ()
    """https, http: hosts that images are fetched from. `*` for any host has to be written out."""
    ports: tuple[Annotated[int, Field(ge=1, le=65_535)], ...] = (443, 80)
    """https, http: ports that are connected to."""
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """https, http: networks such as 10.1.0.0/16 that are connected to although their addresses are not public. A host's
    name may lead there, so with `*` among the hosts anybody can reach them."""
    ca_file: Path | None = None
    """https, s3: certificates, in PEM form, that are trusted besides the public authorities."""
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 3
    """https, http: redirects that are followed, each under the same rules as a reference, never to another scheme."""
    buckets: tuple[str, ...] = ()
    """s3: buckets that images are read from."""
    object_store: ObjectStoreSettings = Field(default_factory=ObjectStoreSettings)
    roots: tuple[Path, ...] = ()
    """file: folders that images are read from, with all that lies under them."""
    max_bytes: Annotated[int, Field(ge=1)] = 10_485_760
    """The largest image, in bytes; of one that is larger no more is read."""
    timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 15.0
    """How long one image may take, waiting, redirects and repeated tries included: no call takes longer."""
    connect_timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 3.0
    """How long looking a name up and connecting to it may take."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """How often an image is asked for while its host is busy, fails or cannot be reached."""
    concurrency: Annotated[int, Field(ge=1)] = 32
    """Images that are fetched at the same time."""
    concurrency_per_host: Annotated[int, Field(ge=1)] = 16
    """Those of them from one host: one that hangs does not hold up the images of others."""

    @model_validator(mode="after")
    def _require_fitting_keys(self) -> Self:
        used = {name for scheme in self.schemes for name in _KEYS[scheme]}
        defaults = type(self).model_fields
        for name in sorted({name for names in _KEYS.values() for name in names}):
            value = getattr(self, name)
            # By value, not by presence: settings that were written out whole can be read again.
            if name not in used and value != defaults[name].get_default(call_default_factory=True):
                raise ValueError(f"schemes {list(self.schemes)}: expected no {name}: they do not use it")
            if name in used and name in _LISTED and not value:
                raise ValueError(f"schemes {list(self.schemes)}: expected at least one of {name}")
        return self


_WEB_KEYS = ("hosts", "ports", "allowed_networks", "max_redirects")
_KEYS: Mapping[str, Sequence[str]] = {
    "data": (),
    "https": (*_WEB_KEYS, "ca_file"),
    "http": _WEB_KEYS,
    "s3": ("buckets", "object_store", "ca_file"),
    "file": ("roots",),
}
"""Which keys a scheme uses, of those that not all of them do."""

_LISTED = frozenset({"hosts", "ports", "buckets", "roots"})
"""Keys that allow nothing while they are empty."""


class KnownImagesSettings(BaseModel):
    """A list of images that are known to be bad (`docs/images.md` has its form)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path
    """A text file, one SHA-256 or perceptual hash a line, a name behind it if wanted."""
    max_distance: Annotated[int, Field(ge=0, le=16)] = 4
    """Bits, of 64, in which the perceptual hash of an image may differ from one on the list; 0: none."""


class ImageClassifierSettings(BaseModel):
    """An image classifier that gives scores for categories."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """A folder or a name on the hub: image classification by transformers, with weights as safetensors."""
    labels: Annotated[Mapping[str, Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    """The category of each label that counts; labels that are not named here do not."""
    device: Device = "cpu"
    """Where it computes; `cuda` is the first GPU that the process sees."""


class ImageSettings(BaseModel):
    """What is done with the images of conversations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fetch: FetchSettings = Field(default_factory=FetchSettings)
    """From where images may be fetched."""
    read: Literal["text", "off"] = "text"
    """`text`: the text in images is read and judged with the prompt. `off`: every image is reported as not read; a key
    that only reading uses is then an error."""
    max_images: Annotated[int, Field(ge=1)] = 16
    """Images of one conversation that are looked at."""
    formats: tuple[ImageFormat, ...] = ("png", "jpeg", "gif", "webp", "bmp", "tiff", "heic", "avif")
    """Formats that are decoded."""
    max_pixels: Annotated[int, Field(ge=1, le=178_000_000)] = 40_000_000
    """Pixels of an image, of all its frames together; looked up in its header before any is decoded."""
    max_side: Annotated[int, Field(ge=1)] = 16_384
    """Pixels of its longer side."""
    max_frames: Annotated[int, Field(ge=1, le=64)] = 8
    """Frames of an animation, or pages; every one is read, and an image with more is not read at all."""
    min_text_confidence: Annotated[float, Field(ge=0, le=1)] = 0.5
    """What the recogniser must give a piece of text for it to count."""
    max_text_pieces: Annotated[int, Field(ge=1, le=1000)] = 400
    """Pieces of text in one image; one with more is not read at all."""
    time_limit_s: Annotated[float, Field(gt=0, le=3_600)] = 60.0
    """How long reading one image may take; less than a third of `serve.deadlines.images_s`."""
    num_threads: Annotated[int, Field(ge=1)] | None = None
    """Images that are read at the same time; null: as many as the deployment, or else the machine, has CPUs."""
    known: KnownImagesSettings | None = None
    """Images that are known to be bad; null: none are."""
    classifier: ImageClassifierSettings | None = None
    """null: no scores for images."""

    @model_validator(mode="after")
    def _require_fitting_reading_keys(self) -> Self:
        defaults = type(self).model_fields
        # By value, not by presence: settings that were written out whole can be read again.
        unused = [
            name for name in defaults if name not in _UNREAD_KEYS and getattr(self, name) != defaults[name].default
        ]
        if self.read == "off" and unused:
            raise ValueError(f"read is off: expected no {', '.join(unused)}: nothing uses them")
        return self

    @property
    def give_up_s(self) -> float:
        """After what time an image is given up whose decoder, say, does not come back: limits are looked at between."""
        return 3 * self.time_limit_s

    @property
    def categories(self) -> frozenset[str]:
        """What images get scores for."""
        return frozenset(self.classifier.labels.values()) if self.classifier else frozenset()


_UNREAD_KEYS = frozenset({"fetch", "read", "max_images"})
"""Keys that are used also where images are only shown to an MLLM."""
