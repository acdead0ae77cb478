"""Bodies of requests: read within limits of bytes and time, then as JSON with one meaning, then as what is expected."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.wire.strict_json import RefusedJsonError, read_json
from services.http.refusals import RefusedRequestError

ModelT = TypeVar("ModelT", bound=BaseModel)

_JSON = "application/json"


class ClientGoneError(Exception):
    """Whoever asked has hung up: nobody waits for an answer."""


def require_json_content(request: Request) -> None:
    """Refuse what does not say that it is JSON: a page of another site may send anything else from a browser.

    Raises:
        RefusedRequestError: it says something else, or is packed.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _JSON:
        raise RefusedRequestError("unsupported_media_type", f"expected a body of content-type {_JSON}")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise RefusedRequestError("unsupported_media_type", "expected a body without content-encoding")


async def read_body(request: Request, *, max_bytes: int, ends_at_s: float, hold: Callable[[int], None]) -> bytes:
    """Return the body of a request, counted while it comes.

    Args:
        request: whose body nobody has read.
        max_bytes: of a longer one no more is read.
        ends_at_s: by the event loop's clock, when it must have come.
        hold: is told of bytes before they are kept; may raise.

    Raises:
        RefusedRequestError: it is too long, or too slow.
        ClientGoneError: the client hung up before the end.
    """
    too_large = RefusedRequestError("body_too_large", f"expected a body of at most {max_bytes} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > max_bytes):
        raise too_large
    chunks: list[bytes] = []
    num_bytes = 0
    try:
        async with asyncio.timeout_at(ends_at_s):
            async for chunk in request.stream():
                num_bytes += len(chunk)
                if num_bytes > max_bytes:
                    raise too_large
                hold(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise RefusedRequestError("body_too_slow", "expected the whole body in less time") from None
    except ClientDisconnect:
        raise ClientGoneError from None
    return b"".join(chunks)


async def read_json_object(body: bytes) -> dict[str, JsonValue]:
    """Return the object that a body is; a large one is read beside the event loop.

    Raises:
        RefusedRequestError: it is no JSON with one meaning (`wire.strict_json`), or no object.
    """
    try:
        written = await off_loop(len(body), lambda: read_json(body))
    except RefusedJsonError as error:
        raise RefusedRequestError("invalid_json", error.message) from None
    except RecursionError:
        raise RefusedRequestError("invalid_json", "nested too deeply") from None
    if not isinstance(written, dict):
        raise RefusedRequestError("invalid_value", f"expected a JSON object, got {type(written).__name__}")
    return written


def validate(model: type[ModelT], written: dict[str, JsonValue]) -> ModelT:
    """Return what an object says.

    Raises:
        RefusedRequestError: a field is missing, unknown or wrong; it names the first, and quotes nothing.
    """
    try:
        return model.model_validate(written)
    except ValidationError as error:
        raise _refuse(error.errors(include_url=False, include_context=False)[0]) from None


def _refuse(fault: ErrorDetails) -> RefusedRequestError:
    param = _path(fault["loc"])
    where = param or "the body"
    if fault["type"] == "extra_forbidden":
        return RefusedRequestError("invalid_value", f"{where}: expected no keys but those in /openapi.json", param)
    if fault["type"] == "missing":
        return RefusedRequestError("invalid_value", f"{where}: is missing", param)
    said = fault["msg"].removeprefix("Value error, ") if fault["type"] in _QUOTES_NOTHING else "not as expected"
    return RefusedRequestError("invalid_value", f"{where}: {said}, got {type(fault['input']).__name__}", param)


def _path(location: tuple[int | str, ...]) -> str | None:
    """Return where something is, by names that this project gives: another key is not told."""
    written = ""
    for before, step in pairwise((None, *location)):
        if isinstance(step, int):
            written += f"[{step}]"
        # Behind an index stands which kind of part it is.
        elif step in _NAMES and not isinstance(before, int):
            written += f".{step}"
    return written.removeprefix(".") or None


_NAMES = frozenset(
    {
        *("input", "model", "type", "text", "image_url", "url", "detail", "events"),
        *("messages", "stream", "stream_options", "include_usage", "include_obfuscation", "n", "max_tokens"),
        *("max_completion_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias"),
        *("seed", "stop", "logprobs", "top_logprobs", "response_format", "tools", "tool_choice", "function"),
        *("parallel_tool_calls", "reasoning_effort", "verbosity", "modalities", "user", "safety_identifier"),
        *("prompt_cache_key", "store", "moderation", "policy", "output", "mode"),
        *("input_type", "litellm_call_id", "texts", "structured_messages", "images", "tool_calls"),
    }
)
_QUOTES_NOTHING = frozenset(
    {
        *("literal_error", "value_error", "string_type", "string_too_short", "string_unicode", "list_type"),
        *("too_short", "too_long", "input_form", "dict_type", "model_type", "model_attributes_type"),
    }
)
"""Kinds of faults of which pydantic's own words repeat nothing that was found."""
