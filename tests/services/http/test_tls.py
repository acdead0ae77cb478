"""The certificate of the HTTP front: what cannot be used is refused before anything starts, and says why."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from protector_models.moderation.errors import ConfigurationError
from services.http.settings import HttpSettings, TlsSettings
from services.http.tls import require_usable
from tests.certificates import write_certificate

PASSWORD = "hunter2hunter2"


def tls(files: tuple[Path, Path], password: str | None = None) -> TlsSettings:
    certificate_file, key_file = files
    return TlsSettings(
        certificate_file=certificate_file, key_file=key_file, key_password=password and SecretStr(password)
    )


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_a_certificate_and_its_key_are_usable(tmp_path: Path, password: str | None) -> None:
    require_usable(tls(write_certificate(tmp_path, password=password), password))


@pytest.mark.parametrize("name", ["certificate_file", "key_file"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    files = dict(zip(("certificate_file", "key_file"), write_certificate(tmp_path), strict=True))
    files[name].unlink()
    with pytest.raises(ConfigurationError, match=rf"http\.tls\.{name}: .*No such file"):
        require_usable(TlsSettings(**files))


@pytest.mark.parametrize("content", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_or_no_key_is_told(tmp_path: Path, content: str) -> None:
    files = certificate_file, key_file = write_certificate(tmp_path)
    key_file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"key_file: .* a private key in PEM form"):
        require_usable(tls(files))
    certificate_file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"certificate_file: expected certificates in PEM form"):
        require_usable(tls(files))


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate_file, _ = write_certificate(tmp_path)
    _, other_key_file = write_certificate(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="expected the key of the first certificate"):
        require_usable(tls((certificate_file, other_key_file)))


@pytest.mark.parametrize("password", [None, "", "wrong", "w" * 5_000])
def test_a_locked_key_needs_its_password_and_nobody_is_asked_for_it(tmp_path: Path, password: str | None) -> None:
    files = write_certificate(tmp_path, password=PASSWORD)
    with pytest.raises(ConfigurationError, match="its key_password") as caught:
        require_usable(tls(files, password))
    assert caught.value.__cause__ is None
    assert not password or password not in str(caught.value)


def test_haproxy_takes_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="tls: expected null with ingress haproxy"):
        HttpSettings(ingress="haproxy", tls=tls(write_certificate(tmp_path)))
