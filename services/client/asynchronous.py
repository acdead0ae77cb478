"""The client for code on an asyncio event loop."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx

from protector_models.moderation.messages.message import ImagePart, TextPart
from services.client import calls
from services.client.calls import Call, EventResult, ResultT, WrittenEvent, WrittenMessage
from services.client.errors import UnavailableError
from services.client.tries import CallTime, client_headers, headers_of, naming_failures, tries_of
from services.http.policies import PolicyList
from services.http.results import ModerationAnswer


class AsyncWeirClient:
    """Calls the HTTP front as `WeirClient` does, which says what the calls are; for one event loop."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Put a client together; nothing is sent. The arguments are those of `WeirClient`."""
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(base_url=base_url, headers=client_headers(api_key), transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def moderate_texts(self, texts: str | Sequence[str], *, model: str | None = None) -> ModerationAnswer:
        """Have texts judged, each alone; the answer has a result for each, in order."""
        return await self._make(calls.moderate_texts(texts, model=model))

    async def moderate_parts(
        self, parts: Sequence[TextPart | ImagePart], *, model: str | None = None
    ) -> ModerationAnswer:
        """Have texts and images judged as one; the answer has one result."""
        return await self._make(calls.moderate_parts(parts, model=model))

    async def moderate_conversations(
        self, conversations: Sequence[Sequence[WrittenMessage]], *, model: str | None = None
    ) -> ModerationAnswer:
        """Have the assistant's last turn in conversations judged; the answer has a result for each, in order."""
        return await self._make(calls.moderate_conversations(conversations, model=model))

    async def moderate_events(
        self, events: Sequence[WrittenEvent], *, idempotency_key: str | None = None, shadow: bool = False
    ) -> list[EventResult]:
        """Have events moderated; a result for each, in order, a `FailedEvent` where it has no verdict."""
        return await self._make(calls.moderate_events(events, idempotency_key=idempotency_key, shadow=shadow))

    async def list_policies(self) -> PolicyList:
        """Return the rules in force: of the key's tenant, without a key of all."""
        return await self._make(calls.list_policies())

    async def is_ready(self) -> bool:
        """Tell whether the models are up; asks once."""
        try:
            await self._make(calls.ask_readiness())
        except UnavailableError:
            return False
        return True

    async def _make(self, call: Call[ResultT]) -> ResultT:
        return await tries_of(call, self._timeout_s)(self._try_to_make, call, CallTime(self._timeout_s))

    async def _try_to_make(self, call: Call[ResultT], time_of_call: CallTime) -> ResultT:
        left_s = time_of_call.left_s()
        with naming_failures(time_of_call):
            async with asyncio.timeout(left_s):
                answer = await self._http.request(
                    call.method, call.path, content=call.body, headers=headers_of(call, left_s), timeout=left_s
                )
        return call.read_answer(answer.status_code, answer.headers, answer.content)
