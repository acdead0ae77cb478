"""The MLLM that answers conversations: a model that is run here, or one behind an endpoint.

Importing this module is fast; a model of kind "transformers" brings torch with it once it is loaded.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Protocol

from protector_models.images.settings import ImageSettings
from protector_models.mllms.answers_as_chat import AnswersAsChat
from protector_models.mllms.chat_endpoint import EndpointChat
from protector_models.mllms.endpoint import ChatEndpointGenerator
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.ports import Answer, ChatModel, ResponseGenerator
from protector_models.running.writing_thread import IsWanted, WritingThread


class LoadedGenerator(ResponseGenerator, Protocol):
    """An MLLM that holds threads or connections.

    An answer that the budget of tokens cuts is an answer: it is what a user of the MLLM would have been shown, and it
    is moderated and delivered as far as it goes. An empty one is a failure.
    """

    def stream(self, event: ConversationEvent) -> AsyncGenerator[str, None]:
        """Answer one conversation; yield the answer's pieces, none of them empty, as they come.

        Joined they are what `generate` answers. Nobody has moderated them. Closing the iterator ends the writing.

        Raises:
            UnansweredError: the model cannot answer this conversation, or what it wrote broke off.
            ModelUnavailableError: the model is gone or late; what came before is only a part of the answer.
        """

    async def check_health(self, *, timeout_s: float) -> None:
        """Look whether starting the model again would mend it; nothing is computed and no endpoint is called.

        Args:
            timeout_s: how long this may take.

        Raises:
            ModelUnavailableError: it would.
        """

    async def close(self) -> None:
        """Give threads and connections up; the MLLM is of no use afterwards."""


class ClosableChat(ChatModel, Protocol):
    """A chat that may hold connections."""

    async def close(self) -> None:
        """Close them; nothing is answered any more."""


class AnsweringModel(Protocol):
    """An MLLM that computes on the thread that calls it; one call at a time."""

    @property
    def revision(self) -> str:
        """Its "name@revision"."""

    def answer(
        self, events: Sequence[ConversationEvent], *, is_wanted: IsWanted
    ) -> Iterator[tuple[int, str | ItemFailure]]:
        """Answer each conversation; yield its place and the answer as soon as it is finished, in any order.

        Raises:
            ModelUnavailableError: the device failed, its memory does not suffice for now, or nobody waits any more.
        """

    def stream(self, event: ConversationEvent, *, emit: Callable[[str], None], is_wanted: IsWanted) -> None:
        """Answer one conversation; call `emit` with each piece of the answer as it is written.

        Raises:
            UnansweredError: it cannot be answered.
            ModelUnavailableError: as `answer`.
        """


class TransformersMllm:
    """Runs a model on a thread of its own, under a deadline. Implements `LoadedGenerator`."""

    def __init__(self, model: AnsweringModel, *, deadline_s: float) -> None:
        """Wrap a loaded model.

        Args:
            model: the model.
            deadline_s: how long a call may take once it is its turn; above 0.
        """
        self._model = model
        self._thread: WritingThread[str] = WritingThread("mllm", deadline_s=deadline_s)

    @property
    def revision(self) -> str:
        """The revision of the model."""
        return self._model.revision

    async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
        """Answer each conversation.

        Raises:
            ModelUnavailableError: some answer was not written in time, or the device failed. What was written is kept
                for the next try.
        """
        written = await self._thread.write(
            lambda events, is_wanted: self._model.answer(events, is_wanted=is_wanted),
            events,
            key=_key,
            waiting_for=self.revision,
        )
        return [Answer(text=text, mllm=self.revision) if isinstance(text, str) else text for text in written]

    def stream(self, event: ConversationEvent) -> AsyncGenerator[str, None]:
        """Answer one conversation; yield the pieces of the answer as they are written.

        Raises:
            UnansweredError: the model cannot answer this conversation.
            ModelUnavailableError: the answer was not finished in time, or the device failed.
        """
        return self._thread.stream(
            lambda emit, is_wanted: self._model.stream(event, emit=emit, is_wanted=is_wanted),
            waiting_for=self.revision,
        )

    async def check_health(self, *, timeout_s: float) -> None:  # noqa: ARG002  # nothing is waited for
        """Look whether the device has failed or a call does not end; nothing is computed.

        Raises:
            ModelUnavailableError: so it is.
        """
        self._thread.require_hope(self.revision)

    async def close(self) -> None:
        """Give the thread up without waiting for what it computes."""
        self._thread.close()


def load_mllm(
    settings: MllmSettings, *, num_threads: int, timeout_s: float, images: ImageSettings | None = None
) -> LoadedGenerator:
    """Return the MLLM that the settings name; loading a model may take minutes.

    Args:
        settings: which, and how it is asked.
        num_threads: that a model on the CPU computes on.
        timeout_s: how long the caller waits for a batch; where that is sooner than the settings' deadline, it takes
            its place.
        images: what a model that is run here decodes at most; None: the default limits.

    Raises:
        ConfigurationError: the settings name none, or what they name cannot be loaded.
    """
    deadline_s = min(settings.deadline_s, timeout_s)
    match settings.kind:
        case "transformers":
            # Imported here, not above: torch and transformers take ten seconds.
            from protector_models.mllms.vision_language_model import VisionLanguageModel  # noqa: PLC0415

            model = VisionLanguageModel.load(settings, images or ImageSettings(), num_threads=num_threads)
            return TransformersMllm(model, deadline_s=deadline_s)
        case "openai":
            return ChatEndpointGenerator.from_settings(settings, deadline_s=deadline_s)
        case "off":
            raise ConfigurationError("mllm.kind: expected 'transformers' or 'openai', got 'off'")


def open_chat_model(settings: MllmSettings, generator: ResponseGenerator | None) -> ClosableChat | None:
    """Return the MLLM as a chat; None where none is configured.

    One behind an endpoint is asked there, over connections of the chat's own: its answers are read while they are
    written. Of one that runs here, or behind a deployment, answers come whole.

    Args:
        settings: which, and how it is asked.
        generator: the MLLM, where it is loaded already; whoever has loaded it closes it.

    Raises:
        ConfigurationError: the endpoint cannot be asked.
    """
    if settings.kind == "openai":
        return EndpointChat.from_settings(settings)
    if generator is None:
        return None
    return AnswersAsChat(generator, name=settings.model or generator.revision)


def _key(event: ConversationEvent) -> str:
    """Return what events have in common whose answers are the same."""
    return "\n".join(message.model_dump_json() for message in event.messages)
