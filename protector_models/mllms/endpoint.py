"""An MLLM behind an endpoint that speaks the OpenAI chat API."""

from collections.abc import AsyncGenerator, Sequence
from typing import Self

from protector_models.chat_completions import ChatCompletions, ChatRequest, Completion, make_revision, open_client
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.verdict import ItemFailure
from protector_models.settings import MllmSettings


class ChatEndpointGenerator:
    """Answers conversations over HTTP. Implements `LoadedGenerator`.

    Text and image parts are passed on as they are. What fails, and for whom, is said at `ChatCompletions`.
    """

    def __init__(self, chat: ChatCompletions, *, revision: str) -> None:
        """Put a generator together; nothing is sent.

        Args:
            chat: sends the requests.
            revision: of the model behind it.
        """
        self._chat = chat
        self._revision = revision

    @classmethod
    def from_settings(cls, settings: MllmSettings, *, deadline_s: float | None = None) -> Self:
        """Make a generator from the settings of kind "openai"; nothing is sent.

        Args:
            settings: where the endpoint is and how it is asked.
            deadline_s: in place of the settings' own.

        Raises:
            ConfigurationError: the settings name no endpoint, or its URL is none.
        """
        if settings.base_url is None or settings.model is None:
            raise ConfigurationError("mllm: expected base_url and model to be set")
        client = open_client(
            settings.base_url,
            api_key=settings.api_key,
            timeout_s=settings.timeout_s,
            max_connections=settings.concurrency,
            section="mllm",
        )
        options = settings.model_dump(include={"max_tokens", "temperature", "top_p", "seed"}, exclude_none=True)
        revision = make_revision(settings.model, client=client, asked=options)
        chat = ChatCompletions(
            client=client,
            model=settings.model,
            options=options,
            revision=revision,
            concurrency=settings.concurrency,
            max_attempts=settings.max_attempts,
            deadline_s=settings.deadline_s if deadline_s is None else deadline_s,
        )
        return cls(chat, revision=revision)

    @property
    def revision(self) -> str:
        """The model's name, and a digest of where it is and how it is asked."""
        return self._revision

    async def generate(self, events: Sequence[ConversationEvent]) -> list[str | ItemFailure]:
        """Answer each conversation.

        Raises:
            ModelUnavailableError: the endpoint is gone, busy or late, and none of the conversations got a text.
        """
        completions = await self._chat.complete([_ask(event) for event in events])
        return [_to_answer(completion) for completion in completions]

    def stream(self, event: ConversationEvent) -> AsyncGenerator[str, None]:
        """Answer one conversation; yield the pieces of the answer as they come.

        Raises:
            UnansweredError: the endpoint refuses this conversation, or what it sends is no answer.
            ModelUnavailableError: the endpoint is gone, busy or late, or the connection broke off.
        """
        return self._chat.stream(_ask(event))

    async def check_health(self, *, timeout_s: float) -> None:
        """Do nothing: its health is the endpoint's, which may be paid for by the call."""

    async def close(self) -> None:
        """Close the connections."""
        await self._chat.close()


def _ask(event: ConversationEvent) -> ChatRequest:
    return ChatRequest(messages=[message.model_dump(exclude_none=True) for message in event.messages])


def _to_answer(completion: Completion | ItemFailure) -> str | ItemFailure:
    if isinstance(completion, ItemFailure):
        return completion
    # A model that declines speaks in `refusal`: that is its response.
    return completion.text or completion.refusal or ItemFailure(error="EmptyAnswer", message="expected some text")
