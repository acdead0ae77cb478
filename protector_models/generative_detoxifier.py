"""The generative detoxifier: a language model writes a harmless answer in place of a harmful one, as a whole.

Importing this module is fast; a model of kind "transformers" brings torch with it once it is loaded.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from protector_models.endpoint_detoxifier import EndpointDetoxifier
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.ports import Detoxifier, RewriteRequest
from protector_models.moderation.verdict import ItemFailure, Rewrite
from protector_models.rewrite_attempts import derive_seed
from protector_models.rewrite_faults import find_fault
from protector_models.settings import GeneratorSettings


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
        self._deadline_s = deadline_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="detoxifier")

    @property
    def revision(self) -> str:
        """The revision of the model."""
        return self._writer.revision

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response as a whole.

        A call that is late or cancelled while it waits is never computed; one that is being computed ends within a
        token. What a late call has finished is returned, and the rest of it is late: thrown away, the next try of the
        same requests would begin at nothing and be late again.

        Raises:
            ModelUnavailableError: no text was written in time, or the device failed.
        """
        if not requests:
            return []
        abandoned = threading.Event()
        loop = asyncio.get_running_loop()
        tasks = [_to_task(request) for request in requests]
        written: dict[int, Draft | ItemFailure] = {}

        def write() -> None:
            for index, draft in self._writer.write(tasks, is_wanted=lambda: not abandoned.is_set()):
                written[index] = draft

        try:
            async with asyncio.timeout(self._deadline_s) as deadline:
                await loop.run_in_executor(self._thread, write)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            in_time = written.copy()  # The thread may still be adding to it.
            if not any(isinstance(draft, Draft) for draft in in_time.values()):
                raise ModelUnavailableError(f"{self.revision}: no result within {self._deadline_s:g} s") from error
            late = ItemFailure(
                error="LateRewrite", message=f"not written within {self._deadline_s:g} s; others of the batch were"
            )
            written = {index: in_time.get(index, late) for index in range(len(tasks))}
        finally:
            abandoned.set()
        return [self._to_rewrite(request, written[index]) for index, request in enumerate(requests)]

    async def close(self) -> None:
        """Give the thread up without waiting for what it computes."""
        self._thread.shutdown(wait=False, cancel_futures=True)

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
