"""LiteLLM's calls of a guardrail, and what it makes of the answers to a stream in its mode `incremental_diff`."""

import re
from collections.abc import Sequence
from typing import Any

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fakes import FakeHarmDetector
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from tests.services.http.front import Front

PATH = "/beta/litellm_basic_guardrail_api"
CALL_ID = "5f4e0c1e-call"


_UNFINISHED = re.compile(r"\bharm=(?!\d+(?:\.\d*)?(?:\s|$))\S*")


class PatientDetector(FakeHarmDetector):
    """Finds nothing where the text breaks off within a number."""

    def _assess(self, exchange: Exchange) -> Assessment | ItemFailure:
        return super()._assess(exchange.model_copy(update={"response": _UNFINISHED.sub("mild", exchange.response)}))


class BlockedError(Exception):
    """LiteLLM ended the stream with an error, since it was told to."""


def remembered(front: Front) -> dict[str, bytes]:
    """Return what lies in the front's memory of calls, as it would lie in Redis."""
    assert isinstance(front.cache, MemoryVerdictCache)
    return {key: value for key, value in front.cache._values.items() if key.startswith("call:")}


def request_body(input_type: str, *, call_id: str | None = CALL_ID, **fields: Any) -> dict[str, Any]:
    """Return a body as LiteLLM writes it, with fields that Weir does not know."""
    return {
        "input_type": input_type,
        "litellm_call_id": call_id,
        "litellm_trace_id": "trace",
        "structured_messages": None,
        "images": None,
        "tools": None,
        "texts": None,
        "request_data": {"user_api_key_hash": "88dc"},
        "request_headers": {"host": "proxy", "authorization": "[present]"},
        "litellm_version": "1.108.7",
        "additional_provider_specific_params": {},
        "tool_calls": None,
        "model": "gpt-5",
        "a_field_of_next_year": {"any": ["thing"]},
        **fields,
    }


async def ask(front: Front, input_type: str, *, call_id: str | None = CALL_ID, **fields: Any) -> dict[str, Any]:
    """Ask as LiteLLM does; return what it is told."""
    answer = await front.post(PATH, request_body(input_type, call_id=call_id, **fields))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


class Relay:
    """Sends on what a guardrail lets through of a stream of one choice, as LiteLLM does.

    Each round sends what the guarded text has behind what was sent, but for what is held back; the last round holds
    nothing back. A text that does not begin with what was sent would have LiteLLM end the stream.
    """

    def __init__(self, front: Front, *, call_id: str | None = CALL_ID) -> None:
        self._front = front
        self._call_id = call_id
        self.sent = ""

    async def round(self, text: str, *, is_last: bool = False) -> None:
        """Ask about all that is written so far.

        Raises:
            BlockedError: the guardrail ends it.
        """
        (delta,) = await relay_round(self._front, [text], [self.sent], is_last=is_last, call_id=self._call_id)
        self.sent += delta


async def relay_round(
    front: Front, texts: Sequence[str], sent: Sequence[str], *, is_last: bool, call_id: str | None = CALL_ID
) -> list[str]:
    """Ask about all choices; return what is sent on of each."""
    told = await ask(front, "response", call_id=call_id, texts=list(texts))
    if told["action"] == "BLOCKED":
        raise BlockedError(told["blocked_reason"])
    given = told.get("texts") or texts
    holdbacks = [0] * len(texts) if is_last else told["stream_holdback_chars"]
    assert len(given) == len(holdbacks) == len(texts)
    deltas: list[str] = []
    for text, already, holdback in zip(given, sent, holdbacks, strict=True):
        assert text.startswith(already), "stream_transform_underflow"
        deltas.append(text[len(already) : max(len(already), len(text) - holdback)])
    return deltas
