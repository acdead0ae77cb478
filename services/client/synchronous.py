"""The client for code that waits."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx
from tenacity import Retrying

from protector_models.moderation.messages.message import ImagePart, TextPart
from services.client import calls
from services.client.calls import Call, EventResult, ResultT, WrittenEvent, WrittenMessage
from services.client.errors import UnavailableError
from services.client.tries import CallTime, client_headers, headers_of, naming_failures, tries_of
from services.http.policies import PolicyList
from services.http.results import ModerationAnswer


class WeirClient:
    """Calls the HTTP front, over connections that are kept. A context manager, to be used from any number of threads.

    What passes (no connection, 409, 429, 503) is tried again within the time of the call; every call raises `CallError`
    where it has no result.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Put a client together; nothing is sent.

        Args:
            base_url: of the front, such as "http://127.0.0.1:8080".
            api_key: whose tenant's rules hold.
            timeout_s: how long a call may take, with all its tries. Headers that trickle are waited for longer;
                `AsyncWeirClient` is exact there, too.
            transport: sends requests; None: over the network.

        Raises:
            ValueError: the key cannot be sent.
        """
        self._timeout_s = timeout_s
        self._http = httpx.Client(base_url=base_url, headers=client_headers(api_key), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def moderate_texts(self, texts: str | Sequence[str], *, model: str | None = None) -> ModerationAnswer:
        """Have texts judged, each alone; the answer has a result for each, in order."""
        return self._make(calls.moderate_texts(texts, model=model))

    def moderate_parts(self, parts: Sequence[TextPart | ImagePart], *, model: str | None = None) -> ModerationAnswer:
        """Have texts and images judged as one; the answer has one result."""
        return self._make(calls.moderate_parts(parts, model=model))

    def moderate_conversations(
        self, conversations: Sequence[Sequence[WrittenMessage]], *, model: str | None = None
    ) -> ModerationAnswer:
        """Have the assistant's last turn in conversations judged; the answer has a result for each, in order."""
        return self._make(calls.moderate_conversations(conversations, model=model))

    def moderate_events(
        self, events: Sequence[WrittenEvent], *, idempotency_key: str | None = None, shadow: bool = False
    ) -> list[EventResult]:
        """Have events moderated; a result for each, in order, a `FailedEvent` where it has no verdict.

        Args:
            events: of the wire format.
            idempotency_key: the same events under it have the same answer.
            shadow: decide and report, and change nothing.

        Raises:
            CallError: there is no answer.
            ValueError: the idempotency key cannot be sent.
        """
        return self._make(calls.moderate_events(events, idempotency_key=idempotency_key, shadow=shadow))

    def list_policies(self) -> PolicyList:
        """Return the rules in force: of the key's tenant, without a key of all."""
        return self._make(calls.list_policies())

    def is_ready(self) -> bool:
        """Tell whether the models are up; asks once."""
        try:
            self._make(calls.ask_readiness())
        except UnavailableError:
            return False
        return True

    def _make(self, call: Call[ResultT]) -> ResultT:
        time_of_call, tries = CallTime(self._timeout_s), tries_of(call, self._timeout_s)
        again = Retrying(stop=tries.stop, wait=tries.wait, retry=tries.retry, reraise=True)
        result: ResultT = again(self._try_to_make, call, time_of_call)
        return result

    def _try_to_make(self, call: Call[ResultT], time_of_call: CallTime) -> ResultT:
        left_s = time_of_call.left_s()
        body = bytearray()
        with (
            naming_failures(time_of_call),
            self._http.stream(
                call.method, call.path, content=call.body, headers=headers_of(call, left_s), timeout=left_s
            ) as answer,
        ):
            for chunk in answer.iter_bytes():
                # The limit of a read begins anew with every byte.
                time_of_call.left_s()
                body += chunk
        return call.read_answer(answer.status_code, answer.headers, bytes(body))
