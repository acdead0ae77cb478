"""The generative detoxifier: a language model writes a harmless answer in place of a harmful one, as a whole.

Importing this module is fast; a model of kind "transformers" brings torch with it once it is loaded.
"""

from collections.abc import Sequence
from typing import Protocol

from protector_models.detoxification.answer_writer import AnswerWriter, Draft, WritingTask
from protector_models.detoxification.endpoint import EndpointDetoxifier
from protector_models.detoxification.rewrite_attempts import derive_seed
from protector_models.detoxification.rewrite_faults import find_fault
from protector_models.detoxification.settings import GeneratorSettings
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import ItemFailure, Rewrite
from protector_models.moderation.ports import Detoxifier, RewriteRequest
from protector_models.running.writing_thread import WritingThread


class GenerativeDetoxifier:
    """Runs a language model on a thread of its own, under a deadline. Implements `Detoxifier`.

    The method and the spans of a request are not looked at: every answer is written anew. So are pictures not.
    """

    def __init__(self, writer: AnswerWriter, *, deadline_s: float) -> None:
        """Wrap a loaded model.

        Args:
            writer: the model.
            deadline_s: how long a call may take once it is its turn; above 0.
        """
        self._writer = writer
        self._thread: WritingThread[Draft] = WritingThread("detoxifier", deadline_s=deadline_s)

    @property
    def revision(self) -> str:
        """The revision of the model."""
        return self._writer.revision

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response as a whole.

        Raises:
            ModelUnavailableError: some text was not written in time, or the device failed. What was written is kept
                for the next try.
        """
        drafts = await self._thread.write(
            lambda tasks, is_wanted: self._writer.write(tasks, is_wanted=is_wanted),
            [_to_task(request) for request in requests],
            key=repr,
            waiting_for=self.revision,
        )
        return [self._to_rewrite(request, draft) for request, draft in zip(requests, drafts, strict=True)]

    async def check_health(self, *, timeout_s: float) -> None:  # noqa: ARG002  # nothing is waited for
        """Look whether the device has failed or a call does not end; nothing is computed.

        Raises:
            ModelUnavailableError: so it is.
        """
        self._thread.require_hope(self.revision)

    async def close(self) -> None:
        """Give the thread up without waiting for what it computes."""
        self._thread.close()

    def _to_rewrite(self, request: RewriteRequest, draft: Draft | ItemFailure) -> Rewrite | ItemFailure:
        if isinstance(draft, ItemFailure):
            return draft
        text = draft.text.strip()
        fault = find_fault(text, response=request.exchange.response, is_cut=draft.is_cut)
        return fault or Rewrite(text=text, detoxifier=self._writer.revision)


class OpenDetoxifier(Detoxifier, Protocol):
    """A detoxifier that holds threads or connections."""

    async def check_health(self, *, timeout_s: float) -> None:
        """Look whether starting the model again would mend it; nothing is computed and no endpoint is called.

        Args:
            timeout_s: how long this may take.

        Raises:
            ModelUnavailableError: it would.
        """

    async def close(self) -> None:
        """Give them up; the detoxifier is of no use afterwards."""


def load_generator(settings: GeneratorSettings) -> OpenDetoxifier:
    """Return the generative detoxifier that the settings name; loading a model may take minutes.

    Raises:
        ConfigurationError: the settings name none, or what they name cannot be loaded.
    """
    match settings.kind:
        case "transformers":
            # Imported here, not above: torch and transformers take ten seconds.
            from protector_models.detoxification.language_model import LanguageModel  # noqa: PLC0415

            return GenerativeDetoxifier(LanguageModel.load(settings), deadline_s=settings.deadline_s)
        case "openai":
            return EndpointDetoxifier.from_settings(settings)
        case "off":
            raise ConfigurationError("detoxifier.generator.kind: expected 'transformers' or 'openai', got 'off'")


def _to_task(request: RewriteRequest) -> WritingTask:
    exchange, attempt = request.exchange, request.attempt
    seed = derive_seed(exchange.prompt, exchange.response, attempt) if attempt else None
    return WritingTask(prompt=exchange.prompt, response=exchange.response, seed=seed)
