"""Calls of the HTTP front as values: what is sent, and how its answer is read. Nothing is sent from here."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.messages.message import ImagePart, Message, TextPart
from protector_models.moderation.verdict import ModeratedConversation
from services.client.errors import UnreadableAnswerError, refusal_of
from services.http import chat_moderations, conversations, moderations
from services.http.conversations import FailedEvent, ModeratedBatch
from services.http.policies import PolicyList
from services.http.results import ModerationAnswer

ResultT = TypeVar("ResultT")
ModelT = TypeVar("ModelT", bound=BaseModel)

WrittenMessage = Message | Mapping[str, object]
"""A message, also in any form in which an SDK writes it (`docs/wire-format.md`)."""
WrittenEvent = ConversationEvent | Mapping[str, object]
"""An event, also as it is written on the wire."""
EventResult = ModeratedConversation | FailedEvent
"""What became of an event."""

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_JSON_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[ResultT]):
    """A call that may be made, any number of times."""

    method: str
    path: str
    read: Callable[[bytes], ResultT]
    """Makes the result of the body of an answer of status 200; raises UnreadableAnswerError where it is none."""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_made_again: bool = True
    """Whether it is tried again after what passes."""

    def read_answer(self, status: int, headers: httpx.Headers, body: bytes) -> ResultT:
        """Return the result that an answer is.

        Raises:
            RefusedCallError: the front refused.
            UnreadableAnswerError: it is no answer of the front's.
        """
        if status != httpx.codes.OK:
            raise refusal_of(status, headers, body)
        return self.read(body)


def moderate_texts(texts: str | Sequence[str], *, model: str | None) -> Call[ModerationAnswer]:
    """Return the call that has texts judged, each alone."""
    asked = [texts] if isinstance(texts, str) else list(texts)
    return _judging(moderations.ROUTE, asked, num_results=len(asked), model=model)


def moderate_parts(parts: Sequence[TextPart | ImagePart], *, model: str | None) -> Call[ModerationAnswer]:
    """Return the call that has texts and images judged as one."""
    return _judging(moderations.ROUTE, list(parts), num_results=1, model=model)


def moderate_conversations(
    conversations_: Sequence[Sequence[WrittenMessage]], *, model: str | None
) -> Call[ModerationAnswer]:
    """Return the call that has the last turn of conversations judged."""
    asked = [list(messages) for messages in conversations_]
    return _judging(chat_moderations.ROUTE, asked, num_results=len(asked), model=model)


def moderate_events(
    events: Sequence[WrittenEvent], *, idempotency_key: str | None, shadow: bool
) -> Call[list[EventResult]]:
    """Return the call that has events moderated.

    Raises:
        ValueError: the key cannot be sent.
    """
    headers = dict(_JSON_HEADERS)
    if idempotency_key is not None:
        if not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
            raise ValueError("idempotency_key: expected 1 to 255 visible ASCII characters")
        headers["idempotency-key"] = idempotency_key
    written = [_write_event(event) for event in events]
    return Call(
        method="POST",
        path=f"{conversations.ROUTE}?shadow=true" if shadow else conversations.ROUTE,
        body=_write({"events": written}),
        headers=headers,
        read=partial(_read_batch, event_ids=[event.get("event_id") for event in written]),
    )


def list_policies() -> Call[PolicyList]:
    """Return the call that asks for the rules in force."""
    return Call(method="GET", path="/v1/policies", read=partial(_read, PolicyList))


def ask_readiness() -> Call[None]:
    """Return the call that is refused while the models are not up."""
    return Call(method="GET", path="/readyz", read=lambda _: None, is_made_again=False)


def _judging(path: str, asked: Sequence[object], *, num_results: int, model: str | None) -> Call[ModerationAnswer]:
    content = {"input": asked} if model is None else {"input": asked, "model": model}
    return Call(
        method="POST",
        path=path,
        body=_write(content),
        headers=_JSON_HEADERS,
        read=partial(_read_results, num_results=num_results),
    )


def _write(content: object) -> bytes:
    # ASCII: what has no form in UTF-8 is the front's to refuse.
    return json.dumps(content, default=_to_fields).encode("ascii")


def _to_fields(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"expected a value that JSON has, got {type(value).__name__}")


def _write_event(event: WrittenEvent) -> Mapping[str, object]:
    if not isinstance(event, ConversationEvent):
        return event
    # An event that names no tenant is of the key's.
    written = event.model_dump(mode="json", exclude=None if "tenant" in event.model_fields_set else {"tenant"})
    return dict(written)


def _read(model: type[ModelT], body: bytes) -> ModelT:
    try:
        # A newer front may say more.
        return model.model_validate_json(body, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise UnreadableAnswerError(f"expected a {model.__name__}, got something else: {first['type']}") from None


def _read_results(body: bytes, *, num_results: int) -> ModerationAnswer:
    answer = _read(ModerationAnswer, body)
    if len(answer.results) != num_results:
        raise UnreadableAnswerError(f"expected {num_results} results, got {len(answer.results)}")
    return answer


def _read_batch(body: bytes, *, event_ids: Sequence[object]) -> list[EventResult]:
    results = _read(ModeratedBatch, body).results
    if len(results) != len(event_ids):
        raise UnreadableAnswerError(f"expected {len(event_ids)} results, got {len(results)}")
    for position, (result, event_id) in enumerate(zip(results, event_ids, strict=True)):
        if result.event_id != event_id and not isinstance(result, FailedEvent):
            raise UnreadableAnswerError(f"results[{position}]: expected the result of another event")
    return results
