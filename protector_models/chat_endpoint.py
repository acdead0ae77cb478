"""An MLLM behind an endpoint that speaks the OpenAI chat API."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Self

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from protector_models.deadlines import within
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.verdict import ItemFailure
from protector_models.settings import MllmSettings

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""

_CLOSED_TO_US = frozenset({401, 404, 405, 407})
"""Statuses that speak of the endpoint or the key, not of the one conversation that was sent."""

_backoff = wait_random_exponential(multiplier=0.2, max=10)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    """What is read of an answer; everything else in it is ignored."""

    choices: list[_Choice]


class _TryAgainError(Exception):
    """The endpoint was busy, failed, or could not be reached."""

    def __init__(self, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, status, retry_after_s)
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s


class ChatEndpointGenerator:
    """Answers conversations over HTTP. Implements `ResponseGenerator`.

    Text and image parts are passed on as they are. A conversation that the endpoint refuses, cannot digest (status 500
    on every try) or answers with nonsense is an `ItemFailure`. An endpoint that is gone, busy or late raises; but where
    it gave any text to others of the batch, what it kept failing on is an `ItemFailure` as well: one conversation that
    breaks the model, or a gateway before it, must not hold up the others for ever.
    """

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        model: str,
        options: Mapping[str, object],
        concurrency: int,
        max_attempts: int,
        deadline_s: float,
    ) -> None:
        """Put a generator together; nothing is sent.

        Args:
            client: has the base URL, the key and the timeout of one request.
            model: the model's name at the endpoint.
            options: further fields of each request.
            concurrency: requests at the same time, over all calls.
            max_attempts: how often a request is made while the endpoint is busy or fails.
            deadline_s: how long a call may take, all tries and waits included.
        """
        self._client = client
        self._model = model
        self._options = dict(options)
        self._slots = asyncio.Semaphore(concurrency)
        self._max_attempts = max_attempts
        self._deadline_s = deadline_s
        identity = json.dumps([str(client.base_url), self._options], sort_keys=True)
        self._revision = f"{model}@{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    @classmethod
    def from_settings(cls, settings: MllmSettings) -> Self:
        """Make a generator from the settings of kind "openai"; nothing is sent.

        Raises:
            ConfigurationError: the settings name no endpoint, or its URL is none.
        """
        if settings.base_url is None or settings.model is None:
            raise ConfigurationError("mllm: expected base_url and model to be set")
        key = settings.api_key
        try:
            client = httpx.AsyncClient(
                base_url=settings.base_url,
                headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
                timeout=httpx.Timeout(settings.timeout_s, connect=min(10.0, settings.timeout_s)),
                limits=httpx.Limits(max_connections=settings.concurrency),
            )
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"mllm.base_url: expected a URL, got {settings.base_url!r}") from error
        return cls(
            client=client,
            model=settings.model,
            options={"max_tokens": settings.max_tokens, "temperature": settings.temperature},
            concurrency=settings.concurrency,
            max_attempts=settings.max_attempts,
            deadline_s=settings.deadline_s,
        )

    @property
    def revision(self) -> str:
        """The model's name, and a digest of where it is and how it is asked."""
        return self._revision

    async def generate(self, events: Sequence[ConversationEvent]) -> list[str | ItemFailure]:
        """Answer each conversation.

        Raises:
            ModelUnavailableError: the endpoint is gone, busy or late, and none of the conversations got a text.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._try_to_answer(event)) for event in events]
        outcomes = [task.result() for task in tasks]
        is_alive = any(isinstance(outcome, str) for outcome in outcomes)
        answers: list[str | ItemFailure] = []
        for outcome in outcomes:
            if not isinstance(outcome, ModelUnavailableError):
                answers.append(outcome)
            elif is_alive:
                answers.append(ItemFailure(error="EndpointError", message=f"{outcome}; others were answered"))
            else:
                raise outcome
        return answers

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _try_to_answer(self, event: ConversationEvent) -> str | ItemFailure | ModelUnavailableError:
        """Return the error and do not raise it: it must not end the requests of the others."""
        try:
            return await within(self._deadline_s, lambda: self._answer(event), waiting_for=self._revision)
        except ModelUnavailableError as error:
            return error

    async def _answer(self, event: ConversationEvent) -> str | ItemFailure:
        tries = AsyncRetrying(
            stop=stop_after_attempt(self._max_attempts),
            wait=_wait_s,
            retry=retry_if_exception_type(_TryAgainError),
            reraise=True,
        )
        async with self._slots:
            try:
                return await tries(self._request, event)
            except _TryAgainError as error:
                if error.status == httpx.codes.INTERNAL_SERVER_ERROR:
                    return ItemFailure(error="EndpointError", message=f"{error.message} on {self._max_attempts} tries")
                raise ModelUnavailableError(f"{self._revision}: {error.message}") from error

    async def _request(self, event: ConversationEvent) -> str | ItemFailure:
        messages = [message.model_dump(exclude_none=True) for message in event.messages]
        # ASCII: lone surrogates have an escaped form in JSON, but none in UTF-8.
        body = json.dumps({"model": self._model, "messages": messages, **self._options}).encode("ascii")
        try:
            response = await self._client.post(
                "chat/completions", content=body, headers={"Content-Type": "application/json"}
            )
        except httpx.TransportError as error:
            raise _TryAgainError(f"no answer ({type(error).__name__})") from error
        except (httpx.DecodingError, httpx.TooManyRedirects) as error:
            return ItemFailure(error="InvalidAnswer", message=f"unreadable response ({type(error).__name__})")
        return _read(response)


def _read(response: httpx.Response) -> str | ItemFailure:
    """Return the answer in a response; raise where the fault is not the conversation's."""
    status = response.status_code
    if status in _BUSY:
        raise _TryAgainError(f"status {status}", status, _retry_after_s(response))
    if status in _CLOSED_TO_US:
        raise ModelUnavailableError(f"{response.url.copy_with(userinfo=b'')}: status {status}, expected 200")
    if status != httpx.codes.OK:
        return ItemFailure(error="RefusedByEndpoint", message=f"status {status}, expected 200")
    try:
        completion = _Completion.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return ItemFailure(error="InvalidAnswer", message=f"{place or 'body'}: {first['type']}")
    if not completion.choices:
        return ItemFailure(error="EmptyAnswer", message="expected at least one choice")
    message = completion.choices[0].message
    # A model that declines speaks in `refusal`: that is its response.
    return message.content or message.refusal or ItemFailure(error="EmptyAnswer", message="expected some text")


def _retry_after_s(response: httpx.Response) -> float | None:
    """Return the seconds that a response asks to wait; None where it says nothing, or a date."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _wait_s(state: RetryCallState) -> float:
    """Wait as long as the endpoint asked for, else with backoff and jitter; the deadline of the call ends it anyway."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_s if isinstance(error, _TryAgainError) else None
    return asked if asked is not None else _backoff(state)
