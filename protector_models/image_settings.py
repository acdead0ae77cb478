"""Settings of the images: from where they may be fetched."""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

ImageScheme = Literal["data", "https", "http", "s3", "file"]

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
