"""The detoxifier: an edit model for toxic wording, and a generative model for those who have one."""

from collections.abc import Sequence
from typing import Protocol

from protector_models.detoxification.broken_sentences import BROKEN_SENTENCE
from protector_models.detoxification.generative_detoxifier import OpenDetoxifier, load_generator
from protector_models.detoxification.replaced_ranges import replace_ranges
from protector_models.detoxification.settings import DetoxifierSettings
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.model_outputs import ItemFailure, Rewrite
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import RewriteMethod
from protector_models.running.model_threads import ModelThreads
from protector_models.running.split_runs import is_total_failure

_OWN_TEXTS = ["The damn train to the coast is late again. " * length for length in (1, 4, 16, 64)]
"""Short and long ones: the first run on each length of input is the slow one."""


class TextEditor(Protocol):
    """An edit model: changes toxic wording and nothing else. Computes on the thread that calls; several may at once."""

    @property
    def revision(self) -> str:
        """Return "name@revision": equal revisions give equal edits of equal texts."""

    def edit(self, texts: Sequence[str]) -> list[str | ItemFailure]:
        """Edit each text, whatever its neighbours are; same length and order.

        A text without toxic wording comes back as it was. May return an empty text where nothing else was in it. What
        the model cannot handle is an `ItemFailure`; so, with the error `BROKEN_SENTENCE`, is what no edit leaves whole.
        """


class ModelDetoxifier:
    """Edits and generates, by the method of each request. Implements `Detoxifier`."""

    def __init__(self, *, editor: TextEditor | None, generator: OpenDetoxifier | None, timeout_s: float) -> None:
        """Put a detoxifier together; at least one of the models must be there.

        Args:
            editor: for requests with `EDIT`.
            generator: for those with `GENERATE`; has deadlines of its own.
            timeout_s: how long the edits of one batch may take once it is their turn.
        """
        if editor is None and generator is None:
            raise ValueError("expected an editor, a generator or both, got neither")
        self._editor = editor
        self._generator = generator
        self._timeout_s = timeout_s
        self._threads = ModelThreads("edit-model", num_threads=1)

    @property
    def revision(self) -> str:
        """The revisions of its models, the edit model's first, joined by a plus sign."""
        return "+".join(model.revision for model in (self._editor, self._generator) if model is not None)

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response.

        A request whose method has no model is an `ItemFailure`; so is one to edit in which nothing was changed, or of
        which no edit leaves every sentence whole: the policy's next method is for it.

        Raises:
            ModelUnavailableError: a model is gone or late.
        """
        edits = [request for request in requests if request.method is RewriteMethod.EDIT]
        generations = [request for request in requests if request.method is RewriteMethod.GENERATE]
        edited = iter(await self._edit(edits))
        generated = iter(await self._generate(generations))
        return [next(edited if request.method is RewriteMethod.EDIT else generated) for request in requests]

    def warm_up(self) -> None:
        """Run the edit model once on texts of several lengths, on this thread.

        Raises:
            ModelUnavailableError: it cannot handle them.
        """
        if self._editor is not None:
            _require_texts(self._editor.revision, self._editor.edit(_OWN_TEXTS))

    async def check_health(self, *, timeout_s: float) -> None:
        """Run the edit model, unless its calls tell that it is well. A generative model is not run: it may cost money.

        Raises:
            ModelUnavailableError: the edit model gave no text, or none in time; or a generative model's device failed.
        """
        if self._generator is not None:
            await self._generator.check_health(timeout_s=timeout_s)
        if self._editor is not None:
            edited = await self._threads.try_out(
                self._editor.edit, _OWN_TEXTS[:1], timeout_s=timeout_s, waiting_for=self._editor.revision
            )
            _require_texts(self._editor.revision, edited)

    async def close(self) -> None:
        """Give threads and connections up; the detoxifier is of no use afterwards."""
        self._threads.close()
        if self._generator is not None:
            await self._generator.close()

    async def _edit(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        editor = self._editor
        if editor is None:
            return [_no_model(request) for request in requests]
        texts = [request.exchange.response[span.start : span.end] for request in requests for span in request.spans]
        edited = await self._run(editor, texts)
        if texts and is_total_failure(edited):
            # A text of ours tells whether that is their fault.
            _require_texts(editor.revision, await self._run(editor, _OWN_TEXTS[:1]))
        spans = iter(edited)
        return [self._splice(request, [next(spans) for _ in request.spans]) for request in requests]

    async def _run(self, editor: TextEditor, texts: Sequence[str]) -> list[str | ItemFailure]:
        return await self._threads.run(editor.edit, texts, timeout_s=self._timeout_s, waiting_for=editor.revision)

    async def _generate(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        if self._generator is None:
            return [_no_model(request) for request in requests]
        rewrites = await self._generator.rewrite(requests) if requests else []
        return [
            rewrite if isinstance(rewrite, ItemFailure) else Rewrite(text=rewrite.text, detoxifier=self.revision)
            for rewrite in rewrites
        ]

    def _splice(self, request: RewriteRequest, edited: Sequence[str | ItemFailure]) -> Rewrite | ItemFailure:
        """Put edited spans into the response."""
        replacements: list[str] = []
        for text in edited:
            if isinstance(text, ItemFailure):
                return text
            replacements.append(text)
        places = [(span.start, span.end) for span in request.spans]
        text = replace_ranges(request.exchange.response, places, replacements)
        if text == request.exchange.response:
            return ItemFailure(error="NothingToEdit", message="expected toxic wording in the harmful sentences")
        if not text.strip():
            return ItemFailure(error="EmptyRewrite", message="the response has nothing but toxic wording")
        return Rewrite(text=text, detoxifier=self.revision)


def load_detoxifier(settings: DetoxifierSettings, *, num_threads: int, timeout_s: float) -> ModelDetoxifier | None:
    """Return the detoxifier that the settings name; None where they switch every model off.

    Args:
        settings: which models.
        num_threads: that one call of the edit model computes on, where the settings do not say.
        timeout_s: how long the edits of one batch may take.

    Raises:
        ConfigurationError: a model cannot be loaded.
    """
    editor = None
    if settings.edit:
        # Imported here, not above: its engine takes a second.
        from protector_models.detoxification.edit_model import SHIPPED_EDIT_MODEL, EditModel  # noqa: PLC0415

        editor = EditModel.load(
            settings.checkpoint or SHIPPED_EDIT_MODEL, num_threads=settings.num_threads or num_threads
        )
    generator = load_generator(settings.generator) if settings.generator.kind != "off" else None
    if editor is None and generator is None:
        return None
    return ModelDetoxifier(editor=editor, generator=generator, timeout_s=timeout_s)


def _no_model(request: RewriteRequest) -> ItemFailure:
    return ItemFailure(error="NoModel", message=f"method {request.method.value}: expected one that has a model")


def _require_texts(revision: str, edited: Sequence[str | ItemFailure]) -> None:
    for outcome in edited:
        if isinstance(outcome, ItemFailure) and outcome.error != BROKEN_SENTENCE:
            raise ModelUnavailableError(f"{revision}: a text of ours, expected an edited one, got {outcome.error}")
