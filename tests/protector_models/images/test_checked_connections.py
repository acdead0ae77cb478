"""Connections are checked where they are made: names that lead inside, that change, and certificates."""

import datetime
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from protector_models.moderation.images import ImageContent, ImageFault
from protector_models.moderation.model_outputs import ItemFailure
from tests.protector_models.images.image_hosts import (
    METADATA,
    OTHER_PUBLIC,
    PRIVATE,
    PUBLIC,
    SILENT,
    ImageHost,
    open_host,
    open_internet,
    redirecting,
    replying,
    web_settings,
)

NAME = "img.example.org"


def fault(result: ImageContent | ItemFailure) -> str | None:
    """Return the error of a failure, None of an image."""
    return result.error if isinstance(result, ItemFailure) else None


def url(host: ImageHost, name: str = NAME, path: str = "/") -> str:
    """Return where a server is found."""
    return f"http://{name}:{host.port}{path}"


async def test_nothing_is_connected_to_where_any_address_of_a_name_is_not_public() -> None:
    inside = [
        [PRIVATE],
        [METADATA],
        ["127.0.0.1"],
        ["0.0.0.0"],
        ["::1"],
        ["::ffff:169.254.169.254"],
        ["fd00:ec2::254"],
        [PUBLIC, PRIVATE],
        [PRIVATE, PUBLIC],
        [PUBLIC, OTHER_PUBLIC, "fe80::1"],
    ]
    names = {f"{number}.example.org": [addresses] for number, addresses in enumerate(inside)}
    async with (
        open_host(replying()) as host,
        open_internet(web_settings(host, hosts=["*.example.org"]), names) as internet,
    ):
        results = await internet.source.fetch([url(host, name) for name in names])

        assert [fault(result) for result in results] == [ImageFault.ADDRESS_NOT_ALLOWED] * len(inside)
        messages = [result.message for result in results if isinstance(result, ItemFailure)]
        assert not any(PRIVATE in message or METADATA in message for message in messages)
        assert (internet.connector.attempts, host.requests) == ([], [])


async def test_addresses_in_the_reference_are_checked_as_names_are() -> None:
    literals = ["127.0.0.1", PRIVATE, METADATA, "[::1]", "[::ffff:7f00:1]", "[64:ff9b::a01:203]"]
    async with open_host(replying()) as host, open_internet(web_settings(host, hosts=["*"]), {}) as internet:
        results = await internet.source.fetch([url(host, literal) for literal in literals])

        assert [fault(result) for result in results] == [ImageFault.ADDRESS_NOT_ALLOWED] * len(literals)
        assert (internet.connector.attempts, internet.directory.asked) == ([], [])


async def test_without_the_check_the_pretend_internet_fails_the_test_and_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("protector_models.images.checked_connections.is_public", lambda _address: True)
    async with open_host(replying()) as host, open_internet(web_settings(host), {NAME: [[METADATA]]}) as internet:
        with pytest.raises(ExceptionGroup) as caught:
            await internet.fetch(url(host))
        assert caught.group_contains(AssertionError, match=METADATA)
        assert internet.connector.attempts == [(METADATA, host.port)]


async def test_the_address_that_was_checked_is_the_one_connected_to_though_the_name_leads_elsewhere_by_then() -> None:
    names = {NAME: [[PUBLIC], ["127.0.0.1"], [METADATA]]}
    async with open_host(replying()) as host, open_internet(web_settings(host), names) as internet:
        assert fault(await internet.fetch(url(host))) is None
        assert internet.directory.asked == [NAME]
        assert internet.connector.attempts == [(PUBLIC, host.port)]


async def test_a_name_that_leads_inside_at_the_next_connection_is_refused_there() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = await redirecting(lambda _request: "/next")(request)
        response.force_close()
        return response

    names = {NAME: [[PUBLIC], ["127.0.0.1"]]}
    async with open_host(handle) as host, open_internet(web_settings(host), names) as internet:
        assert fault(await internet.fetch(url(host))) == ImageFault.ADDRESS_NOT_ALLOWED
        assert internet.directory.asked == [NAME, NAME]
        assert [request.path for request in host.requests] == ["/"]


async def test_a_host_is_tried_at_each_of_its_addresses() -> None:
    # Nothing listens at the second address of loopback.
    settings_of = {"allowed_networks": ["127.0.0.0/8"], "max_attempts": 1, "connect_timeout_s": 0.3}
    for addresses in (["127.0.0.2", "127.0.0.1"], [SILENT, "127.0.0.1"]):
        async with (
            open_host(replying()) as host,
            open_internet(web_settings(host, **settings_of), {NAME: [addresses]}) as internet,
        ):
            assert fault(await internet.fetch(url(host))) is None
            assert [address for address, _ in internet.connector.attempts] == addresses


async def test_a_host_that_swallows_packets_is_left_in_time() -> None:
    settings_of = {"allowed_networks": ["127.0.0.0/8"], "max_attempts": 2, "connect_timeout_s": 0.1}
    async with (
        open_host(replying()) as host,
        open_internet(web_settings(host, **settings_of), {NAME: [[SILENT]]}) as internet,
    ):
        assert fault(await internet.fetch(url(host))) == ImageFault.FETCH_TIMEOUT
        assert internet.connector.attempts == [(SILENT, host.port)] * 2


async def test_only_networks_that_are_named_are_excepted() -> None:
    names = {NAME: [["127.0.0.1"]], "near.example.org": [["127.0.0.9"]], "far.example.org": [[PRIVATE]]}
    async with open_host(replying()) as host:
        settings = web_settings(host, hosts=["*.example.org"], allowed_networks=["127.0.0.1/32"])
        async with open_internet(settings, names) as internet:
            results = await internet.source.fetch([url(host, name) for name in names])

    assert [fault(result) for result in results] == [None, *[ImageFault.ADDRESS_NOT_ALLOWED] * 2]


async def test_hosts_and_ports_that_are_not_listed_are_not_even_looked_up() -> None:
    async with open_host(replying()) as host, open_internet(web_settings(host)) as internet:
        scan = [f"http://{NAME}:{port}/" for port in range(1, 2_000, 17) if port != host.port]
        others = [url(host, name) for name in ("localhost", "example.org", "img.example.org.evil.org", PRIVATE)]
        results = await internet.source.fetch([*scan, *others])

        assert {fault(result) for result in results} == {ImageFault.REFERENCE_NOT_ALLOWED}
        assert (internet.directory.asked, internet.connector.attempts) == ([], [])


async def test_a_name_that_is_not_found_is_a_failure() -> None:
    async with open_host(replying()) as host, open_internet(web_settings(host, max_attempts=1), {}) as internet:
        assert fault(await internet.fetch(url(host))) == ImageFault.FETCH_FAILED


async def test_the_certificate_has_to_be_valid_for_the_name_and_not_for_the_address(tmp_path: Path) -> None:
    server_context, ca_file = make_certificate(NAME, tmp_path)
    names = {NAME: [[PUBLIC]], "other.example.org": [[PUBLIC]]}
    async with open_host(replying(), ssl_context=server_context) as host:
        secured = {"schemes": ["https"], "hosts": ["*.example.org"], "max_attempts": 1}
        references = [f"https://{name}:{host.port}/" for name in names]
        async with open_internet(web_settings(host, ca_file=ca_file, **secured), names) as internet:
            trusted = await internet.source.fetch(references)
        async with open_internet(web_settings(host, **secured), names) as internet:
            untrusted = await internet.source.fetch(references)

    assert [fault(result) for result in trusted] == [None, ImageFault.FETCH_FAILED]
    assert [fault(result) for result in untrusted] == [ImageFault.FETCH_FAILED] * 2
    assert "certificate" in getattr(untrusted[0], "message", "")


async def test_https_and_http_are_not_the_same(tmp_path: Path) -> None:
    async with open_host(replying()) as host, open_internet(web_settings(host)) as internet:
        assert fault(await internet.fetch(f"https://{NAME}:{host.port}/")) == ImageFault.REFERENCE_NOT_ALLOWED
    server_context, ca_file = make_certificate(NAME, tmp_path)
    async with (
        open_host(redirecting(lambda request: f"http://{request.host}/"), ssl_context=server_context) as host,
        open_internet(web_settings(host, schemes=["https", "http"], ca_file=ca_file)) as internet,
    ):
        result = await internet.fetch(f"https://{NAME}:{host.port}/")
    assert fault(result) == ImageFault.REDIRECT_NOT_ALLOWED


def make_certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context with a certificate for a name, and the file by which it is trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca_file, key_file = folder / "ca.pem", folder / "key.pem"
    ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ca_file, key_file)
    return context, ca_file
