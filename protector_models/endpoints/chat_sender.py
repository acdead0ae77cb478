"""One request to a chat endpoint: its tries, its deadline, and what each way of failing says of the request."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import httpx
from pydantic import JsonValue

from protector_models.endpoints.busy_servers import BUSY_STATUSES, asking_again, may_pass, read_retry_after
from protector_models.endpoints.chat_stream import read_chunks, read_pieces
from protector_models.moderation.errors import (
    LateError,
    ModelUnavailableError,
    RefusedByModelError,
    SuspectBatchError,
    UnansweredError,
)
from protector_models.moderation.model_outputs import ItemFailure

PieceT = TypeVar("PieceT")

_CLOSED_TO_US = frozenset({401, 404, 405, 407})
"""Statuses that speak of the endpoint or the key, not of the one request that was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request to the model."""

    messages: Sequence[Mapping[str, object]]
    """In the OpenAI chat format."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Further fields of this request; the endpoint's own options give way to them."""


_REFUSED = "RefusedByEndpoint"


class _TryAgainError(Exception):
    """The endpoint was busy, failed, or could not be reached."""

    def __init__(
        self, message: str, *, is_busy: bool, may_be_request: bool, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, is_busy, may_be_request, retry_after_s)
        self.message = message
        self.is_busy = is_busy
        """The endpoint is there, and says that it has too much to do."""
        self.may_be_request = may_be_request
        """Perhaps of the request that was sent: one on which a server breaks, or never ends."""
        self.retry_after_s = retry_after_s


class ChatSender:
    """Sends requests, one at a time or several.

    An endpoint that is busy is asked again until the deadline of the request, one that fails or cannot be reached
    `max_attempts` times.
    """

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        model: str,
        options: Mapping[str, object],
        revision: str,
        max_attempts: int,
        deadline_s: float,
    ) -> None:
        """Put a sender together; nothing is sent. The arguments are those of `ChatCompletions`."""
        self._client = client
        self._model = model
        self._options = dict(options)
        self._revision = revision
        self._max_attempts = max_attempts
        self._deadline_s = deadline_s

    def encode(self, request: ChatRequest) -> bytes:
        """Return the body of a request."""
        fields = {"model": self._model, "messages": list(request.messages), **self._options, **request.options}
        # ASCII: lone surrogates have an escaped form in JSON, but none in UTF-8.
        return json.dumps(fields).encode("ascii")

    async def ask(self, request: ChatRequest, *, max_attempts: int | None = None) -> bytes | ItemFailure:
        """Return the body of the response; an `ItemFailure` where the endpoint refuses the request.

        Args:
            request: what is sent.
            max_attempts: how often at most while the endpoint fails, where that is not as often as usual.

        Raises:
            SuspectBatchError: the endpoint failed each time. Whether the endpoint or the request is at fault, only
                other requests can tell.
            LateError: it was not done in time.
            ModelUnavailableError: it is gone, or busy for too long.
        """
        response = await self._send(request, max_attempts=max_attempts or self._max_attempts)
        return response if isinstance(response, ItemFailure) else response.content

    def stream(self, request: ChatRequest) -> AsyncGenerator[str, None]:
        """Yield the pieces of an answer as they come; nothing is tried again once it has begun.

        Raises:
            RefusedByModelError: the endpoint refuses the request.
            UnansweredError: what it sends is no answer.
            ModelUnavailableError: the endpoint is gone, busy, late or failing, or the connection broke off.
        """
        return self._in_time(self._stream(request, partial(read_pieces, source=self._revision)))

    def stream_chunks(self, request: ChatRequest) -> AsyncGenerator[Mapping[str, JsonValue], None]:
        """Yield the objects of an answer as they come, as `stream` does."""
        return self._in_time(self._stream(request, partial(read_chunks, source=self._revision)))

    async def _in_time(self, stream: AsyncGenerator[PieceT, None]) -> AsyncGenerator[PieceT, None]:
        ends_at = asyncio.get_running_loop().time() + self._deadline_s
        async with aclosing(stream) as pieces:
            while True:
                try:
                    async with asyncio.timeout_at(ends_at):
                        piece = await anext(pieces, None)
                except TimeoutError as error:
                    raise LateError(f"{self._revision}: not finished within {self._deadline_s:g} s") from error
                if piece is None:
                    return
                yield piece

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _stream(
        self, request: ChatRequest, read: Callable[[AsyncIterable[bytes]], AsyncGenerator[PieceT, None]]
    ) -> AsyncGenerator[PieceT, None]:
        response = await self._send(request, max_attempts=self._max_attempts, stream=True)
        if isinstance(response, ItemFailure):
            raise to_error(response)
        try:
            async for piece in read(response.aiter_bytes()):
                yield piece
        except httpx.TransportError as error:
            raise ModelUnavailableError(
                f"{self._revision}: the connection broke off ({type(error).__name__})"
            ) from error
        except httpx.DecodingError as error:
            raise UnansweredError(f"InvalidAnswer: unreadable response ({type(error).__name__})") from error
        finally:
            await response.aclose()

    async def _send(
        self, request: ChatRequest, *, max_attempts: int, stream: bool = False
    ) -> httpx.Response | ItemFailure:
        """Send a request until there is a response of status 200; where it streams, its body is still to be read."""
        busy: _TryAgainError | None = None

        async def attempt() -> httpx.Response | ItemFailure:
            nonlocal busy
            try:
                return await self._try_to_send(request, stream=stream)
            except _TryAgainError as error:
                busy = error if error.is_busy else busy
                raise

        tries = asking_again(
            _TryAgainError,
            max_attempts=max_attempts,
            initial_s=0.2,
            max_s=10,
            within_s=self._deadline_s,
            counts=lambda error: not (isinstance(error, _TryAgainError) and error.is_busy),
        )
        try:
            async with asyncio.timeout(self._deadline_s) as deadline:
                return await tries(attempt)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            if busy is not None:
                raise ModelUnavailableError(f"{self._revision}: {busy.message} for {self._deadline_s:g} s") from error
            raise LateError(f"{self._revision}: no result within {self._deadline_s:g} s") from error
        except _TryAgainError as error:
            if not error.may_be_request:
                raise ModelUnavailableError(f"{self._revision}: {error.message}") from error
            raise SuspectBatchError(f"{self._revision}: {error.message} on {max_attempts} tries") from error

    async def _try_to_send(self, request: ChatRequest, *, stream: bool) -> httpx.Response | ItemFailure:
        sent = self._client.build_request(
            "POST",
            "chat/completions",
            content=self.encode(_streamed(request) if stream else request),
            headers={"Content-Type": "application/json"},
        )
        try:
            # The client's own timeout begins anew with every byte.
            async with asyncio.timeout(self._client.timeout.read):
                response = await self._client.send(sent, stream=stream)
        except TimeoutError as error:
            raise _no_answer("ReadTimeout", may_be_request=True) from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _no_answer(type(error).__name__, may_be_request=False) from error
        except httpx.TransportError as error:
            raise _no_answer(type(error).__name__, may_be_request=True) from error
        except (httpx.DecodingError, httpx.TooManyRedirects) as error:
            return ItemFailure(error="InvalidAnswer", message=f"unreadable response ({type(error).__name__})")
        if response.status_code == httpx.codes.OK:
            return response
        await response.aclose()
        return _to_failure(response)


def to_error(failure: ItemFailure) -> UnansweredError:
    """Return the error that a request's failure is where its answer is no value."""
    kind = RefusedByModelError if failure.error == _REFUSED else UnansweredError
    return kind(f"{failure.error}: {failure.message}")


def _streamed(request: ChatRequest) -> ChatRequest:
    return ChatRequest(messages=request.messages, options={**request.options, "stream": True})


def _no_answer(kind: str, *, may_be_request: bool) -> _TryAgainError:
    return _TryAgainError(f"no answer ({kind})", is_busy=False, may_be_request=may_be_request)


def _to_failure(response: httpx.Response) -> ItemFailure:
    """Return what a status other than 200 means for the request; raise where the fault need not be the request's."""
    status = response.status_code
    if may_pass(status):
        is_busy = status in BUSY_STATUSES
        asked_s = read_retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
        raise _TryAgainError(f"status {status}", is_busy=is_busy, may_be_request=not is_busy, retry_after_s=asked_s)
    if status in _CLOSED_TO_US:
        raise ModelUnavailableError(f"{response.url.copy_with(userinfo=b'')}: status {status}, expected 200")
    return ItemFailure(error=_REFUSED, message=f"status {status}, expected 200")
