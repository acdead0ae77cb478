"""Web addresses in the one form in which they are checked and used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.images.fetch_error import ImageFetchError
from protector_models.images.web_addresses import parse_web_address, require_listed
from protector_models.moderation.images import ImageFault


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("https://img.example.org/a/b.png?c=d#e", "https://img.example.org:443/a/b.png?c=d"),
        ("HTTP://IMG.Example.ORG:8080", "http://img.example.org:8080/"),
        ("https://bücher.example/ä", "https://xn--bcher-kva.example:443/%C3%A4"),
        ("https://93.184.216.34/", "https://93.184.216.34:443/"),
        ("https://[2606:2800:0220:0001::0001]/", "https://[2606:2800:220:1::1]:443/"),
        ("https://a_b.example.org/%2e%2e", "https://a_b.example.org:443/%2e%2e"),
    ],
)
def test_an_address_has_one_form(reference: str, expected: str) -> None:
    assert str(parse_web_address(reference)) == expected


@pytest.mark.parametrize(
    "reference",
    [
        *("https://", "https:///a", "https:a", "https:/a", "//a", "a", "ftp://a/", "https://[::1", "https://h:x/"),
        *("https://user@example.org/", "https://user:password@example.org/", "https://@example.org/"),
        *("https://example.org\\@127.0.0.1/", "https://127.0.0.1\\.example.org/", "https://a b/", "https://a\n/"),
        *("https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://0177.0.0.1/", "https://127.1/"),
        *("https://127.0.0.1.:443/", "https://example.org./", "https://example..org/", "https://.example.org/"),
        *("https://exa%6dple.org/", "https://１２７.0.0.1/", "https://[fe80::1%25eth0]/", "https://[v1.a]/"),
        *("https://" + "a" * 64 + ".org/", "https://" + "a." * 127 + "org/", "https://\ud800/", "https://-a.org/"),
    ],
)
def test_what_programs_read_differently_is_refused(reference: str) -> None:
    with pytest.raises(ImageFetchError) as caught:
        parse_web_address(reference)
    assert caught.value.fault == ImageFault.INVALID_REFERENCE


@given(st.text(max_size=60) | st.text(max_size=40).map(lambda text: f"https://{text}"))
def test_whatever_stands_there_it_is_an_address_or_refused(reference: str) -> None:
    try:
        address = parse_web_address(reference)
    except ImageFetchError:
        return
    assert parse_web_address(str(address)) == address


@pytest.mark.parametrize(
    ("host", "patterns", "expected"),
    [
        ("img.example.org", ["img.example.org"], True),
        ("img.example.org", ["other.org", "*.example.org"], True),
        ("a.b.example.org", ["*.example.org"], True),
        ("example.org", ["*.example.org"], False),
        ("evilexample.org", ["*.example.org", "example.org"], False),
        ("img.example.org.evil.org", ["*.example.org", "img.example.org"], False),
        ("img.example.org", [], False),
        ("anything.org", ["*"], True),
        ("[::1]", ["[::1]"], True),
    ],
)
def test_hosts_are_listed_by_name_by_domain_or_all(host: str, patterns: list[str], expected: bool) -> None:
    address = parse_web_address(f"https://{host}/")
    if expected:
        require_listed(address, hosts=patterns, ports=[443])
        return
    with pytest.raises(ImageFetchError) as caught:
        require_listed(address, hosts=patterns, ports=[443])
    assert caught.value.fault == ImageFault.REFERENCE_NOT_ALLOWED


@given(st.integers(min_value=1, max_value=65_535))
def test_ports_are_listed_one_by_one(port: int) -> None:
    address = parse_web_address(f"https://img.example.org:{port}/")
    if port in {443, 8443}:
        require_listed(address, hosts=["*"], ports=[443, 8443])
    else:
        with pytest.raises(ImageFetchError, match="port"):
            require_listed(address, hosts=["*"], ports=[443, 8443])
