"""Chat completions over HTTP: what every model behind an endpoint that speaks the OpenAI chat API shares."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from protector_models.chat_answers import Completion, read_completion
from protector_models.chat_stream import read_pieces
from protector_models.deadlines import within
from protector_models.moderation.errors import ModelUnavailableError, UnansweredError
from protector_models.moderation.verdict import ItemFailure

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""

_CLOSED_TO_US = frozenset({401, 404, 405, 407})
"""Statuses that speak of the endpoint or the key, not of the one request that was sent."""

_backoff = wait_random_exponential(multiplier=0.2, max=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request to the model."""

    messages: Sequence[Mapping[str, object]]
    """In the OpenAI chat format."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Further fields of this request; the endpoint's own options give way to them."""


class _TryAgainError(Exception):
    """The endpoint was busy, failed, or could not be reached."""

    def __init__(self, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, status, retry_after_s)
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s


class ChatCompletions:
    """Sends chat requests, with tries, waits and a deadline.

    A request that the endpoint refuses, cannot digest (status 500 on every try) or answers with nonsense is an
    `ItemFailure`. An endpoint that is gone, busy or late raises; but where it gave any text to others of the batch,
    what it kept failing on is an `ItemFailure` as well: one request that breaks the model, or a gateway before it, must
    not hold up the others for ever.
    """

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        model: str,
        options: Mapping[str, object],
        revision: str,
        concurrency: int,
        max_attempts: int,
        deadline_s: float,
    ) -> None:
        """Put a sender together; nothing is sent.

        Args:
            client: has the base URL, the key and the timeout of one request; `chat_connection` makes one.
            model: the model's name at the endpoint.
            options: further fields of each request.
            revision: "name@revision" of the model.
            concurrency: requests at the same time, over all calls.
            max_attempts: how often a request is made while the endpoint is busy or fails.
            deadline_s: how long a request may take, all tries and waits included.
        """
        self._client = client
        self._model = model
        self._options = dict(options)
        self._revision = revision
        self._slots = asyncio.Semaphore(concurrency)
        self._max_attempts = max_attempts
        self._deadline_s = deadline_s

    @property
    def revision(self) -> str:
        """What the model is called."""
        return self._revision

    async def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | ItemFailure]:
        """Send each request.

        Raises:
            ModelUnavailableError: the endpoint is gone, busy or late, and none of the requests got a text.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._try_to_complete(request)) for request in requests]
        outcomes = [task.result() for task in tasks]
        is_alive = any(isinstance(outcome, Completion) and (outcome.text or outcome.refusal) for outcome in outcomes)
        completions: list[Completion | ItemFailure] = []
        for outcome in outcomes:
            if not isinstance(outcome, ModelUnavailableError):
                completions.append(outcome)
            elif is_alive:
                completions.append(ItemFailure(error="EndpointError", message=f"{outcome}; others were answered"))
            else:
                raise outcome
        return completions

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str, None]:
        """Send one request; yield the pieces of the answer as they come. Joined they are what `complete` gives.

        Nothing is tried again once the answer has begun.

        Raises:
            UnansweredError: the endpoint refuses the request, fails on it, or what it sends is no answer.
            ModelUnavailableError: the endpoint is gone, busy or late, or the connection broke off.
        """
        ends_at = asyncio.get_running_loop().time() + self._deadline_s
        pieces = self._stream(request)
        try:
            while True:
                async with asyncio.timeout_at(ends_at):
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                yield piece
        except TimeoutError as error:
            raise ModelUnavailableError(f"{self._revision}: not finished within {self._deadline_s:g} s") from error
        finally:
            await pieces.aclose()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _try_to_complete(self, request: ChatRequest) -> Completion | ItemFailure | ModelUnavailableError:
        """Return the error and do not raise it: it must not end the requests of the others."""
        try:
            return await within(self._deadline_s, lambda: self._complete(request), waiting_for=self._revision)
        except ModelUnavailableError as error:
            return error

    async def _complete(self, request: ChatRequest) -> Completion | ItemFailure:
        async with self._slots:
            response = await self._send(request)
        return response if isinstance(response, ItemFailure) else read_completion(response.content)

    async def _stream(self, request: ChatRequest) -> AsyncGenerator[str, None]:
        async with self._slots:
            response = await self._send(request, stream=True)
            if isinstance(response, ItemFailure):
                raise UnansweredError(f"{response.error}: {response.message}")
            try:
                async for piece in read_pieces(response.aiter_bytes(), source=self._revision):
                    yield piece
            except httpx.TransportError as error:
                raise ModelUnavailableError(
                    f"{self._revision}: the connection broke off ({type(error).__name__})"
                ) from error
            except httpx.DecodingError as error:
                raise UnansweredError(f"InvalidAnswer: unreadable response ({type(error).__name__})") from error
            finally:
                await response.aclose()

    async def _send(self, request: ChatRequest, *, stream: bool = False) -> httpx.Response | ItemFailure:
        """Send a request until there is a response of status 200; where it streams, its body is still to be read."""
        tries = AsyncRetrying(
            stop=stop_after_attempt(self._max_attempts),
            wait=_wait_s,
            retry=retry_if_exception_type(_TryAgainError),
            reraise=True,
        )
        try:
            return await tries(self._try_to_send, request, stream=stream)
        except _TryAgainError as error:
            if error.status == httpx.codes.INTERNAL_SERVER_ERROR:
                return ItemFailure(error="EndpointError", message=f"{error.message} on {self._max_attempts} tries")
            raise ModelUnavailableError(f"{self._revision}: {error.message}") from error

    async def _try_to_send(self, request: ChatRequest, *, stream: bool) -> httpx.Response | ItemFailure:
        fields = {"model": self._model, "messages": list(request.messages), **self._options, **request.options}
        if stream:
            fields["stream"] = True
        # ASCII: lone surrogates have an escaped form in JSON, but none in UTF-8.
        body = json.dumps(fields).encode("ascii")
        sent = self._client.build_request(
            "POST", "chat/completions", content=body, headers={"Content-Type": "application/json"}
        )
        try:
            # The client's own timeout begins anew with every byte.
            async with asyncio.timeout(self._client.timeout.read):
                response = await self._client.send(sent, stream=stream)
        except TimeoutError as error:
            raise _TryAgainError("no answer (ReadTimeout)") from error
        except httpx.TransportError as error:
            raise _TryAgainError(f"no answer ({type(error).__name__})") from error
        except (httpx.DecodingError, httpx.TooManyRedirects) as error:
            return ItemFailure(error="InvalidAnswer", message=f"unreadable response ({type(error).__name__})")
        if response.status_code == httpx.codes.OK:
            return response
        await response.aclose()
        return _to_failure(response)


def _to_failure(response: httpx.Response) -> ItemFailure:
    """Return what a status other than 200 means for the request; raise where the fault is not the request's."""
    status = response.status_code
    if status in _BUSY:
        raise _TryAgainError(f"status {status}", status, _retry_after_s(response, datetime.now(UTC)))
    if status in _CLOSED_TO_US:
        raise ModelUnavailableError(f"{response.url.copy_with(userinfo=b'')}: status {status}, expected 200")
    return ItemFailure(error="RefusedByEndpoint", message=f"status {status}, expected 200")


def _retry_after_s(response: httpx.Response, now: datetime) -> float | None:
    """Return the seconds that a response asks to wait, told as a number or as a date; None where it says neither."""
    value = response.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    # A date without a zone is in UTC: RFC 9110, section 5.6.7.
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def _wait_s(state: RetryCallState) -> float:
    """Wait as long as the endpoint asked for, else with backoff and jitter; the deadline of the call ends it anyway."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, _TryAgainError) else None
    return asked if asked is not None else _backoff(state)
