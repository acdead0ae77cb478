"""Calls over HTTP that the demonstration shows: lines for curl, made once by itself, with what the front answers."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from pydantic import JsonValue

from pipelines.demo.tally import MadeCall
from protector_models.moderation.errors import DependencyError
from services.client.errors import CallError
from services.client.synchronous import WeirClient
from services.http import conversations, moderations
from services.http.settings import HttpSettings

_READY_WITHIN_S = 120.0
_POLL_S = 0.2
_ANSWER_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    path: str
    content: Mapping[str, JsonValue]

    def body(self) -> str:
        # For a shell an apostrophe would end the quotation.
        return json.dumps(self.content).replace("'", "\\u0027")

    def command(self, address: str) -> str:
        return f"curl -s {address}{self.path} -H 'content-type: application/json' -d '{self.body()}'"


_CALLS = (
    _Call(
        path=moderations.ROUTE,
        content={"input": ["Book early, then it is cheaper.", "You are a worthless idiot."]},
    ),
    _Call(
        path=conversations.ROUTE,
        content={
            "schema_version": 1,
            "event_id": "e1",
            "conversation_id": "c1",
            "occurred_at": "2026-11-21T12:00:00Z",
            "messages": [{"role": "user", "content": "How do I get to Lisbon?"}],
            "response": "Take the night train, it needs two days. You don't know shit about trains, moron. "
            "Book early, then it is cheaper.",
        },
    ),
)
"""One that judges and one that rewrites."""


def make_calls(http: HttpSettings) -> tuple[MadeCall, ...]:
    """Make the calls, once the front can answer.

    Args:
        http: where it listens.

    Raises:
        DependencyError: it does not answer.
    """
    address = f"http://{http.host}:{http.port}"
    _wait_until_ready(address)
    try:
        return tuple(_make(call, address) for call in _CALLS)
    except (httpx.TransportError, ValueError) as error:
        raise DependencyError(f"{address}: expected an answer in JSON ({type(error).__name__})") from error


def _make(call: _Call, address: str) -> MadeCall:
    answer = httpx.post(
        address + call.path,
        content=call.body(),
        headers={"content-type": "application/json"},
        timeout=_ANSWER_WITHIN_S,
    )
    return MadeCall(command=call.command(address), status=answer.status_code, answer=answer.json())


def _wait_until_ready(address: str) -> None:
    give_up_at = time.monotonic() + _READY_WITHIN_S
    with WeirClient(address, timeout_s=_READY_WITHIN_S) as client:
        while not _is_ready(client):
            if time.monotonic() > give_up_at:
                raise DependencyError(f"{address}: the front is not ready after {_READY_WITHIN_S:.0f} s")
            time.sleep(_POLL_S)


def _is_ready(client: WeirClient) -> bool:
    try:
        return client.is_ready()
    except CallError:
        return False
