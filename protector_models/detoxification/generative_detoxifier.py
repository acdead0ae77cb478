"""The generative detoxifier: a language model writes a harmless answer in place of a harmful one, as a whole.

Importing this module is fast; a model of kind "transformers" brings torch with it once it is loaded.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from protector_models.detoxification.endpoint import EndpointDetoxifier
from protector_models.detoxification.rewrite_attempts import derive_seed
from protector_models.detoxification.rewrite_faults import find_fault
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.ports import Detoxifier, RewriteRequest
from protector_models.moderation.verdict import ItemFailure, Rewrite
from protector_models.settings import GeneratorSettings
from protector_models.writing_thread import WritingThread


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingTask:
    """What a model is to write once."""

    prompt: str
    response: str
    seed: int | None
    """None: the likeliest text. Else a drawn one, which equal seeds give again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a model wrote."""

    text: str
    """Without control tokens; may be empty."""
    is_cut: bool
    """The budget of tokens was used up before the model had finished."""


class AnswerWriter(Protocol):
    """A language model that computes on the thread that calls it; one call at a time."""

    @property
    def revision(self) -> str:
        """Its "name@revision": equal revisions give equal drafts of equal tasks."""

    def write(
        self, tasks: Sequence[WritingTask], *, is_wanted: Callable[[], bool]
    ) -> Iterator[tuple[int, Draft | ItemFailure]]:
        """Write an answer for each task; yield the task's place and the answer as soon as it is finished, in any order.

        Args:
            tasks: what to write.
            is_wanted: asked between tokens; once it says no, nobody waits for further drafts and the call ends soon.

        Raises:
            ModelUnavailableError: the device failed, its memory does not suffice for now, or nobody waits any more.
        """


class GenerativeDetoxifier:
    """Runs a language model on a thread of its own, under a deadline. Implements `Detoxifier`.

    The method and the spans of a request are not looked at: every answer is written anew. So are pictures not.
    """

    def __init__(self, writer: AnswerWriter, *, deadline_s: float) -> None:
        """Wrap a loaded model.

        Args:
            writer: the model.
            deadline_s: how long a call may take, waiting for the calls before it included; above 0.
        """
        self._writer = writer
        self._thread = WritingThread("detoxifier", deadline_s=deadline_s)

    @property
    def revision(self) -> str:
        """The revision of the model."""
        return self._writer.revision

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response as a whole.

        What a late call has finished is returned, and the rest of it is late.

        Raises:
            ModelUnavailableError: no text was written in time, or the device failed.
        """
        if not requests:
            return []
        tasks = [_to_task(request) for request in requests]
        drafts = await self._thread.write(
            lambda is_wanted: self._writer.write(tasks, is_wanted=is_wanted),
            num_texts=len(tasks),
            late="LateRewrite",
            waiting_for=self.revision,
        )
        return [self._to_rewrite(request, draft) for request, draft in zip(requests, drafts, strict=True)]

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
            from protector_models.language_model import LanguageModel  # noqa: PLC0415

            return GenerativeDetoxifier(LanguageModel.load(settings), deadline_s=settings.deadline_s)
        case "openai":
            return EndpointDetoxifier.from_settings(settings)
        case "off":
            raise ConfigurationError("detoxifier.generator.kind: expected 'transformers' or 'openai', got 'off'")


def _to_task(request: RewriteRequest) -> WritingTask:
    exchange, attempt = request.exchange, request.attempt
    seed = derive_seed(exchange.prompt, exchange.response, attempt) if attempt else None
    return WritingTask(prompt=exchange.prompt, response=exchange.response, seed=seed)
