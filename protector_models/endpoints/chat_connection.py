"""From the settings of an endpoint to what sends it requests: the one way for MLLM, guard and detoxifier."""

import ssl
from collections.abc import Mapping, Sequence
from functools import cache

import httpx
from pydantic import SecretStr

from protector_models.endpoints.chat_completions import ChatCompletions
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.revisions import make_revision
from protector_models.settings import ModelSettings


def connect_chat(
    settings: ModelSettings,
    *,
    section: str,
    options: Mapping[str, object],
    asked: Mapping[str, object] | Sequence[object],
    deadline_s: float | None = None,
) -> ChatCompletions:
    """Return what sends requests to the endpoint that the settings name; nothing is sent.

    Args:
        settings: where the endpoint is, and how long it may take.
        section: of the configuration, for messages.
        options: further fields of each request.
        asked: all that decides an answer beside the request itself; a part of the revision.
        deadline_s: in place of the settings' own.

    Raises:
        ConfigurationError: the settings name no endpoint, or its URL or key cannot be used.
    """
    if settings.base_url is None or settings.model is None:
        raise ConfigurationError(f"{section}: expected base_url and model to be set")
    client = open_client(
        settings.base_url,
        api_key=settings.api_key,
        timeout_s=settings.timeout_s,
        max_connections=settings.concurrency,
        section=section,
    )
    return ChatCompletions(
        client=client,
        model=settings.model,
        options=options,
        # Where the model is and how it is asked; the key takes no part in it.
        revision=make_revision(settings.model, [str(client.base_url), asked]),
        concurrency=settings.concurrency,
        max_attempts=settings.max_attempts,
        deadline_s=settings.deadline_s if deadline_s is None else deadline_s,
    )


def open_client(
    base_url: str, *, api_key: SecretStr | None, timeout_s: float, max_connections: int, section: str
) -> httpx.AsyncClient:
    """Make a client; nothing is sent.

    Args:
        base_url: where the API begins.
        api_key: None sends no key.
        timeout_s: how long one request may take; every try has this time anew.
        max_connections: at the same time.
        section: of the configuration, for the message.

    Raises:
        ConfigurationError: `base_url` is no URL that a path can follow, or the key cannot stand in a header.
    """
    # A line end from the file that held it, mostly. The message must not show it.
    if api_key is not None and not all("!" <= character <= "~" for character in api_key.get_secret_value()):
        raise ConfigurationError(f"{section}.api_key: expected visible ASCII characters alone, without line ends")
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{section}.base_url: expected a URL, got {base_url!r}") from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        # Some put a key into the query: it is not shown.
        shown = url.copy_with(query=None, fragment=None)
        raise ConfigurationError(
            f"{section}.base_url: expected a URL as in http://HOST/v1, with nothing behind its path, got {str(shown)!r}"
        )
    return httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {api_key.get_secret_value()}"} if api_key else {},
        timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s)),
        limits=httpx.Limits(max_connections=max_connections),
        verify=_trusted_certificates(),
    )


@cache
def _trusted_certificates() -> ssl.SSLContext:
    """Return what httpx verifies servers with, for all clients: reading the certificates takes tens of milliseconds."""
    return httpx.create_ssl_context()
