"""Chat completions over HTTP: what every model behind an endpoint that speaks the OpenAI chat API shares."""

import asyncio
import hashlib
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import httpx
from pydantic import JsonValue

from protector_models.endpoints.chat_answers import Completion, read_completion
from protector_models.endpoints.chat_sender import ChatRequest, ChatSender, to_error
from protector_models.moderation.errors import LateError, ModelUnavailableError, SuspectBatchError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.running.deadlines import seconds_left
from protector_models.running.kept_results import KeptResults

_KEPT_BYTES = 16 << 20
"""Of responses that wait for the next try of their batch."""

_MAX_LATE = 4_096
"""Requests of which is known when they were sent in vain."""

_NUM_TRIALS = 2
"""How often a request must break the endpoint alone, each time after another one was answered, to be at fault."""


_Outcome = bytes | ItemFailure | ModelUnavailableError
"""The body of a response, or how a request ended without one."""


@dataclass(slots=True, kw_only=True)
class _Asked:
    """A request of a batch, and what has become of it so far."""

    request: ChatRequest
    sent_at: float = -math.inf
    """When it was sent last without an answer, in this try of the batch or an earlier one."""
    outcome: _Outcome | None = None


class ChatCompletions:
    """Sends batches of chat requests, with tries, waits and a deadline for each request.

    A request that the endpoint refuses or answers with nonsense is an `ItemFailure`. An endpoint that is gone or busy
    raises: nobody is at fault then, and what was answered is kept for the next try of the batch, which asks for the
    rest alone. So does an endpoint that fails or is late. But where others of the batch got a text, the request on
    which it did is tried alone, in turn with one that was answered: if the endpoint answers that one and breaks on this
    one, time after time, this one is an `ItemFailure`. It must not hold up the others for ever.

    Nor must those that are late, where they take all slots until nobody asks for the others any more: the next try
    begins with what was never sent, and ends with what was sent last.
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
        """Put it together; nothing is sent.

        Args:
            client: has the base URL, the key and the timeout of one request; `chat_connection` makes one.
            model: the model's name at the endpoint.
            options: further fields of each request.
            revision: "name@revision" of the model.
            concurrency: requests at the same time, over all calls; further ones wait for a slot.
            max_attempts: how often a request is made while the endpoint fails or cannot be reached. While it is busy
                there is no limit but the deadline.
            deadline_s: how long a request may take from its slot on, all tries and waits included.
        """
        self._sender = ChatSender(
            client=client,
            model=model,
            options=options,
            revision=revision,
            max_attempts=max_attempts,
            deadline_s=deadline_s,
        )
        self._revision = revision
        self._slots = asyncio.Semaphore(concurrency)
        self._deadline_s = deadline_s
        self._answered_at = -math.inf
        self._kept: KeptResults[bytes | ItemFailure] = KeptResults(max_size=_KEPT_BYTES, size=_size)
        self._late: KeptResults[float] = KeptResults(max_size=_MAX_LATE)
        """When a request was sent that had no answer in time, by its key."""
        self._one_trial = asyncio.Lock()

    @property
    def revision(self) -> str:
        """What the model is called."""
        return self._revision

    async def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | ItemFailure]:
        """Send each request.

        Raises:
            SuspectBatchError: the endpoint fails, or is late, and there is nothing by which to tell whose fault it is.
            ModelUnavailableError: it is gone or busy. In both cases what was answered is kept.
        """
        batch = [_Asked(request=request) for request in requests]
        self._take_kept(batch)
        began_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as group:
                for asked in sorted(batch, key=lambda asked: asked.sent_at):
                    if asked.outcome is None:
                        group.create_task(self._answer(asked, began_at))
            await self._try_suspects(batch)
            return _read_all(batch)
        except BaseException:
            self._keep(batch)
            raise

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str, None]:
        """Send one request; yield the pieces of the answer as they come. Joined they are what `complete` gives.

        Nothing is tried again once the answer has begun.

        Raises:
            RefusedByModelError: the endpoint refuses the request.
            UnansweredError: what it sends is no answer.
            ModelUnavailableError: the endpoint is gone, busy, late or failing, or the connection broke off.
        """
        async with self._slots, aclosing(self._sender.stream(request)) as pieces:
            async for piece in pieces:
                yield piece

    async def ask(self, request: ChatRequest) -> bytes:
        """Send one request; return the body of the answer, which nobody has looked at.

        Raises:
            RefusedByModelError: the endpoint refuses the request.
            UnansweredError: what it sends is no answer.
            ModelUnavailableError: the endpoint is gone, busy, late or failing.
        """
        async with self._slots:
            answer = await self._sender.ask(request)
        if isinstance(answer, ItemFailure):
            raise to_error(answer)
        return answer

    async def stream_chunks(self, request: ChatRequest) -> AsyncGenerator[Mapping[str, JsonValue], None]:
        """Send one request; yield the objects of the answer as they come, as `stream` does."""
        async with self._slots, aclosing(self._sender.stream_chunks(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()

    async def _answer(self, asked: _Asked, began_at: float) -> None:
        """Ask for what is missing. An error is kept as outcome: it must not end the requests of the others."""
        async with self._slots:
            now = asyncio.get_running_loop().time()
            silent_s = now - max(began_at, self._answered_at)
            if silent_s >= self._deadline_s:
                # Else each of those that wait would find out by itself that the endpoint is gone.
                kind = LateError if asked.sent_at > -math.inf else ModelUnavailableError
                asked.outcome = kind(f"{self._revision}: nothing answered within {silent_s:.0f} s")
                return
            asked.sent_at = now
            asked.outcome = await self._ask(asked.request)

    async def _ask(self, request: ChatRequest, *, max_attempts: int | None = None) -> _Outcome:
        try:
            response = await self._sender.ask(request, max_attempts=max_attempts)
        except ModelUnavailableError as error:
            return error
        self._answered_at = asyncio.get_running_loop().time()
        return response

    async def _try_suspects(self, batch: Sequence[_Asked]) -> None:
        """Find out of each request that broke the endpoint whether it is at fault, as long as others are answered."""
        suspects = [(asked, asked.outcome) for asked in batch if isinstance(asked.outcome, SuspectBatchError)]
        control = next((asked.request for asked in batch if _has_text(asked.outcome)), None)
        is_away = any(_is_away(asked.outcome) for asked in batch)
        if not suspects or control is None or is_away:
            return
        async with self._one_trial, self._slots:
            for suspect, error in suspects:
                if isinstance(error, LateError) and seconds_left() <= 2 * _NUM_TRIALS * self._deadline_s:
                    # The caller would be gone before the end: that this one is late is all that he can be told.
                    return
                await self._try_alone(suspect, error, control)
                if not isinstance(suspect.outcome, bytes | ItemFailure):
                    return

    async def _try_alone(self, suspect: _Asked, error: SuspectBatchError, control: ChatRequest) -> None:
        """Put a request that breaks the endpoint down as a failure of its own, or leave it as it is, or answered."""
        for _ in range(_NUM_TRIALS):
            if not _has_text(await self._ask(control)):
                return
            suspect.outcome = await self._ask(suspect.request, max_attempts=1)
            if not isinstance(suspect.outcome, SuspectBatchError):
                return
        suspect.outcome = ItemFailure(
            error="EndpointError", message=f"{error}, and again alone, where another request was answered"
        )

    def _take_kept(self, batch: Sequence[_Asked]) -> None:
        if self._kept.is_empty() and self._late.is_empty():
            return
        for asked in batch:
            key = self._key(asked.request)
            asked.outcome = self._kept.take(key)
            if (sent_at := self._late.take(key)) is not None:
                asked.sent_at = sent_at

    def _keep(self, batch: Sequence[_Asked]) -> None:
        """Keep what is settled, and when that was sent which had its time, or was given up meanwhile."""
        settled = [(asked.request, asked.outcome) for asked in batch if isinstance(asked.outcome, bytes | ItemFailure)]
        self._kept.keep({self._key(request): outcome for request, outcome in settled})
        late = [asked for asked in batch if asked.outcome is None or isinstance(asked.outcome, SuspectBatchError)]
        self._late.keep({self._key(asked.request): asked.sent_at for asked in late if asked.sent_at > -math.inf})

    def _key(self, request: ChatRequest) -> str:
        return hashlib.sha256(self._sender.encode(request)).hexdigest()


def _read_all(batch: Sequence[_Asked]) -> list[Completion | ItemFailure]:
    """Return the answers of a batch; raise where some have none."""
    outcomes = [asked.outcome for asked in batch]
    failures = [outcome for outcome in outcomes if isinstance(outcome, ModelUnavailableError)]
    if failures:
        # First of all that the endpoint is gone: it tells nothing of a request on which it failed before.
        raise max(failures, key=_is_away)
    settled = [outcome for outcome in outcomes if isinstance(outcome, bytes | ItemFailure)]
    return [read_completion(outcome) if isinstance(outcome, bytes) else outcome for outcome in settled]


def _is_away(outcome: _Outcome | None) -> bool:
    """Tell whether a request ended for what can be no fault of its own."""
    return isinstance(outcome, ModelUnavailableError) and not isinstance(outcome, SuspectBatchError)


def _has_text(outcome: _Outcome | None) -> bool:
    """Tell whether the model said something."""
    if not isinstance(outcome, bytes):
        return False
    completion = read_completion(outcome)
    return isinstance(completion, Completion) and bool(completion.text or completion.refusal)


def _size(outcome: bytes | ItemFailure) -> int:
    return len(outcome) if isinstance(outcome, bytes) else 1_000
