"""An MLLM behind an endpoint that speaks the OpenAI chat API, for those who chat: their requests pass as they are."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Self, cast

from pydantic import JsonValue
from pydantic_core import from_json

from protector_models.endpoints.chat_completions import ChatCompletions
from protector_models.endpoints.chat_connection import connect_chat
from protector_models.endpoints.chat_sender import ChatRequest
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.errors import UnansweredError

_LIMITS = ("max_tokens", "max_completion_tokens")
"""Two names of one thing; the first is what every endpoint knows."""


class EndpointChat:
    """Chats over HTTP. Implements `ChatModel`.

    The settings say how the endpoint is asked where a request does not; no answer is longer than they allow.
    """

    def __init__(self, chat: ChatCompletions, *, name: str, max_tokens: int) -> None:
        """Put a chat together; nothing is sent.

        Args:
            chat: sends the requests.
            name: of the model, at the endpoint.
            max_tokens: the longest answer.
        """
        self._chat = chat
        self._name = name
        self._max_tokens = max_tokens

    @classmethod
    def from_settings(cls, settings: MllmSettings) -> Self:
        """Make a chat from the settings of kind "openai"; nothing is sent.

        Raises:
            ConfigurationError: the settings name no endpoint, or its URL is none.
        """
        options = settings.model_dump(include={"temperature", "top_p", "seed"}, exclude_none=True)
        chat = connect_chat(settings, section="mllm", options=options, asked=options)
        return cls(chat, name=settings.model or "", max_tokens=settings.max_tokens)

    @property
    def name(self) -> str:
        """The name of the model at the endpoint."""
        return self._name

    @property
    def fields(self) -> None:
        """All: it is for the endpoint to say which it takes."""

    async def complete(self, request: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        """Return the whole answer; see `ChatModel`."""
        body = await self._chat.ask(self._ask(request))
        try:
            answer = from_json(body)
        except ValueError as error:
            raise UnansweredError("InvalidAnswer: expected JSON") from error
        if not isinstance(answer, dict):
            raise UnansweredError("InvalidAnswer: expected an object")
        return answer

    def stream(self, request: Mapping[str, JsonValue]) -> AsyncGenerator[Mapping[str, JsonValue], None]:
        """Yield the answer as it is written; see `ChatModel`."""
        return self._chat.stream_chunks(self._ask(request))

    async def close(self) -> None:
        """Close the connections."""
        await self._chat.close()

    def _ask(self, request: Mapping[str, JsonValue]) -> ChatRequest:
        options: dict[str, object] = {name: value for name, value in request.items() if name != "messages"}
        asked = [limit for name in _LIMITS if isinstance(limit := options.pop(name, None), int)]
        options["max_tokens"] = min([self._max_tokens, *asked])
        return ChatRequest(messages=cast("Sequence[Mapping[str, object]]", request["messages"]), options=options)
