"""An MLLM behind an endpoint that speaks the OpenAI chat API."""

from collections.abc import AsyncGenerator, Sequence
from typing import Self

from protector_models.endpoints.chat_answers import Completion
from protector_models.endpoints.chat_completions import ChatCompletions
from protector_models.endpoints.chat_connection import connect_chat
from protector_models.endpoints.chat_sender import ChatRequest
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.messages.message import Message
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.ports import Answer


class ChatEndpointGenerator:
    """Answers conversations over HTTP. Implements `LoadedGenerator`.

    Text and image parts are passed on as they are. What fails, and for whom, is said at `ChatCompletions`.
    """

    def __init__(self, chat: ChatCompletions) -> None:
        """Put a generator together; nothing is sent.

        Args:
            chat: sends the requests.
        """
        self._chat = chat

    @classmethod
    def from_settings(cls, settings: MllmSettings, *, deadline_s: float | None = None) -> Self:
        """Make a generator from the settings of kind "openai"; nothing is sent.

        Args:
            settings: where the endpoint is and how it is asked.
            deadline_s: in place of the settings' own.

        Raises:
            ConfigurationError: the settings name no endpoint, or its URL is none.
        """
        options = settings.model_dump(include={"max_tokens", "temperature", "top_p", "seed"}, exclude_none=True)
        chat = connect_chat(settings, section="mllm", options=options, asked=options, deadline_s=deadline_s)
        return cls(chat)

    @property
    def revision(self) -> str:
        """The model's name, and a digest of where it is and how it is asked."""
        return self._chat.revision

    async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
        """Answer each conversation.

        Raises:
            ModelUnavailableError: the endpoint is gone, busy or late, and none of the conversations got a text.
        """
        completions = await self._chat.complete([_ask(event) for event in events])
        return [self._to_answer(completion) for completion in completions]

    def stream(self, event: ConversationEvent) -> AsyncGenerator[str, None]:
        """Answer one conversation; yield the pieces of the answer as they come.

        Raises:
            UnansweredError: the endpoint refuses this conversation, or what it sends is no answer.
            ModelUnavailableError: the endpoint is gone, busy or late, or the connection broke off.
        """
        return self._chat.stream(_ask(event))

    def _to_answer(self, completion: Completion | ItemFailure) -> Answer | ItemFailure:
        if isinstance(completion, ItemFailure):
            return completion
        # A model that declines speaks in `refusal`: that is its response.
        text = completion.text or completion.refusal
        if not text:
            return ItemFailure(error="EmptyAnswer", message="expected some text")
        return Answer(text=text, mllm=self.revision)

    async def check_health(self, *, timeout_s: float) -> None:
        """Do nothing: its health is the endpoint's, which may be paid for by the call."""

    async def close(self) -> None:
        """Close the connections."""
        await self._chat.close()


def _ask(event: ConversationEvent) -> ChatRequest:
    return ChatRequest(messages=[_as_asked(message) for message in event.messages])


def _as_asked(message: Message) -> dict[str, object]:
    asked = message.model_dump(exclude_none=True)
    # Endpoints know no such role; it is what the model was told, not what it said.
    return {**asked, "role": "user"} if message.role == "other" else asked
