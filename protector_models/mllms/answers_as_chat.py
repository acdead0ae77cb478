"""An MLLM that answers conversations whole, for those who chat: one answer to a request, all of it at once."""

from collections.abc import AsyncGenerator, Mapping

from pydantic import JsonValue

from protector_models.moderation.errors import InvalidEventError, RefusedByModelError, UnansweredError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.one_turn import ANY_TIME
from protector_models.moderation.ports import ResponseGenerator
from protector_models.moderation.wire.codec import decode_json

_NAME = "chat"
"""Of every event that is made of a request: the MLLM does not look at it."""


class AnswersAsChat:
    """Chats by asking for answers. Implements `ChatModel`.

    The model answers as the settings say: it heeds nothing of a request but the messages.
    """

    def __init__(self, generator: ResponseGenerator, *, name: str) -> None:
        """Put a chat together.

        Args:
            generator: answers.
            name: what the model is called by those who ask it.
        """
        self._generator = generator
        self._name = name

    @property
    def name(self) -> str:
        """The name that it was given."""
        return self._name

    @property
    def fields(self) -> frozenset[str]:
        """None."""
        return frozenset()

    async def complete(self, request: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        """Return the whole answer; see `ChatModel`."""
        message: JsonValue = {"role": "assistant", "content": await self._answer(request["messages"])}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    async def stream(self, request: Mapping[str, JsonValue]) -> AsyncGenerator[Mapping[str, JsonValue], None]:
        """Yield the answer in one piece; see `ChatModel`."""
        delta: JsonValue = {"role": "assistant", "content": await self._answer(request["messages"])}
        yield {"choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]}

    async def close(self) -> None:
        """Do nothing: the model is closed by whoever has loaded it."""

    async def _answer(self, messages: JsonValue) -> str:
        try:
            event = decode_json(
                {
                    "schema_version": 1,
                    "event_id": _NAME,
                    "conversation_id": _NAME,
                    "occurred_at": ANY_TIME.isoformat(),
                    "messages": messages,
                }
            ).event
        except InvalidEventError as error:
            raise RefusedByModelError(str(error)) from None
        if not event.lacks_response() or event.unread_parts():
            raise RefusedByModelError("messages: expected texts and images that an MLLM can answer")
        answer = (await self._generator.generate([event]))[0]
        if isinstance(answer, ItemFailure):
            raise UnansweredError(f"{answer.error}: {answer.message}")
        return answer.text
