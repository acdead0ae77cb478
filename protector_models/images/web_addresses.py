"""The http and https addresses that images may be fetched from, in the one form in which they are checked and used."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import httpx

from protector_models.images.fetch_error import ImageFetchError
from protector_models.moderation.images import ImageFault

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_NUMERIC_END = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")
"""Hosts that some parser somewhere takes for an IPv4 address: 2130706433, 0x7f.1, 127.1, 0177.0.0.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAddress:
    """An address, taken apart once: what is checked is what is connected to and asked for."""

    scheme: str
    host: str
    """A name in ASCII, or an IP address in its usual form, without brackets."""
    port: int
    target: str
    """Path and query, as they are sent."""
    label: str
    """What it is called in messages: without path and query, which may hold keys."""

    def __str__(self) -> str:
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}{self.target}"


def parse_web_address(reference: str) -> WebAddress:
    """Take an http or https URL apart.

    Raises:
        ImageFetchError: InvalidReference: it is no such URL, holds a user or a password, or writes its host in a way
            that programs read differently.
    """
    if "\\" in reference or any(character <= " " for character in reference):
        raise _invalid("a URL with a backslash, white space or control character, expected them percent-encoded")
    try:
        url = httpx.URL(reference)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise _invalid("expected a URL such as https://img.example.org/cat.png") from error
    if url.scheme not in _DEFAULT_PORTS:
        raise _invalid("expected an http or https URL")
    if url.userinfo or "@" in reference.split("://", 1)[-1].split("/", 1)[0]:
        raise _invalid("a URL with a user, a password or an '@' before its path, expected none")
    port = _DEFAULT_PORTS[url.scheme] if url.port is None else url.port
    host = _require_host(host)
    return WebAddress(
        scheme=url.scheme,
        host=host,
        port=port,
        target=url.raw_path.decode("ascii"),
        label=f"{url.scheme}://{_bracketed(host)}",
    )


def join_web_address(base: WebAddress, location: str) -> WebAddress:
    """Return where a redirect leads.

    Raises:
        ImageFetchError: RedirectNotAllowed: to another scheme. InvalidReference: to what is no address.
    """
    try:
        url = httpx.URL(str(base)).join(location)
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise _invalid(f"{base.label}: redirected to what is no URL") from error
    if url.scheme != base.scheme:
        raise ImageFetchError(
            ImageFault.REDIRECT_NOT_ALLOWED, f"{base.label}: redirected to another scheme, expected {base.scheme!r}"
        )
    return parse_web_address(str(url))


def require_listed(address: WebAddress, *, hosts: Sequence[str], ports: Collection[int]) -> None:
    """Check an address against what is configured.

    Args:
        address: the address.
        hosts: hosts, `*.` and a domain for all under it, or `*` for any; in lower case, IPv6 addresses in brackets.
        ports: ports that may be connected to.

    Raises:
        ImageFetchError: ReferenceNotAllowed: its host or port is not listed.
    """
    if not any(_matches(address.host, pattern) for pattern in hosts):
        # Without its name, which is still a text of the conversation and not an address of anybody's.
        raise ImageFetchError(ImageFault.REFERENCE_NOT_ALLOWED, "the host is not a configured one")
    if address.port not in ports:
        raise ImageFetchError(
            ImageFault.REFERENCE_NOT_ALLOWED, f"{address.label}: port {address.port} is not a configured one"
        )


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return pattern in {"*", _bracketed(host)}


def _bracketed(host: str) -> str:
    """Return a host as it stands in URLs."""
    return f"[{host}]" if ":" in host else host


def _require_host(host: str) -> str:
    if ":" in host:
        try:
            address = IPv6Address(host)
        except AddressValueError as error:
            raise _invalid("a host that is no IPv6 address, though it is in brackets") from error
        if address.scope_id is not None:
            raise _invalid("an IPv6 address with a zone, expected none")
        return str(address)
    if _NUMERIC_END.fullmatch(host):
        try:
            return str(IPv4Address(host))
        except AddressValueError as error:
            raise _invalid("a host in numbers, expected an IPv4 address in its usual form") from error
    if not _HOST_NAME.fullmatch(host):
        raise _invalid("expected a host name of letters, digits, hyphens and dots, with no dot at its end")
    return host


def _invalid(message: str) -> ImageFetchError:
    return ImageFetchError(ImageFault.INVALID_REFERENCE, message)
