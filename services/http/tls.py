"""The certificate that the HTTP front shows, looked at before anything starts."""

import ssl
from pathlib import Path

from protector_models.moderation.errors import ConfigurationError
from services.http.settings import TlsSettings


def require_usable(tls: TlsSettings) -> None:
    """Refuse a certificate, or a key, with which nobody could be answered.

    Raises:
        ConfigurationError: a file cannot be read, is not what it should be, or they do not belong together.
    """
    for name, path in (("certificate_file", tls.certificate_file), ("key_file", tls.key_file)):
        _require_readable(name, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(tls.certificate_file)
    except ssl.SSLError:
        raise ConfigurationError(
            f"http.tls.certificate_file: expected certificates in PEM form, found none in {tls.certificate_file}"
        ) from None
    # Without a password the terminal would be asked for one.
    password = "" if tls.key_password is None else tls.key_password.get_secret_value()
    try:
        context.load_cert_chain(tls.certificate_file, tls.key_file, password=lambda: password)
    except (ssl.SSLError, ValueError) as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            what = "the key of the first certificate in certificate_file, got another one"
        else:
            what = "a private key in PEM form and, if it is locked, its key_password"
        # Without the cause, which may have the password.
        raise ConfigurationError(f"http.tls.key_file: {tls.key_file}: expected {what}") from None


def _require_readable(name: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"http.tls.{name}: expected a file that can be read, got {path}: {error.strerror}"
        ) from error
