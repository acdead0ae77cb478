"""The seams to everything outside the core: models, cache, metrics. Each has a fake in `fakes` and a contract suite.

All model ports are asynchronous, plural in and plural out: the result has the length and order of the input. An item
that a model cannot handle is a value (`ItemFailure`) and leaves its neighbours alone. A dead or late dependency raises
`DependencyError`: then nothing was decided and the caller may try the batch again. One that has outcomes for some items
raises `IncompleteError` with them, and one that may have broken off because of some item `SuspectBatchError`: a caller
that asks for each alone finds which. Every call may be repeated and several may run at once; an empty input gives an
empty result.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.images import ImageContent, ImageReading
from protector_models.moderation.metric_names import Metric
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.verdict import Outcome, RewriteMethod


class Span(BaseModel):
    """Characters [start, end) of a text; never empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _require_characters(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"end: expected more than start ({self.start}), got {self.end}")
        return self


class RewriteRequest(BaseModel):
    """What a detoxifier gets: the exchange, how and where to rewrite its response, and why it was found harmful."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchange: Exchange
    method: Literal[RewriteMethod.EDIT, RewriteMethod.GENERATE]
    spans: tuple[Span, ...] = ()
    """The harmful characters of the response, in order and apart from each other. Empty where the whole response is to
    be written anew: `GENERATE` does not look at them, and with `EDIT` there is then nothing to edit."""
    category: str | None
    """What the response was found harmful as."""
    attempt: Annotated[int, Field(ge=0)] = 0
    """How often the same method was tried before. A detoxifier that always writes the same may fail on later ones."""

    @model_validator(mode="after")
    def _require_spans_in_response(self) -> Self:
        limits = [0, *(limit for span in self.spans for limit in (span.start, span.end)), len(self.exchange.response)]
        if limits != sorted(limits):
            raise ValueError(
                f"spans: expected them in order, apart, within {limits[-1]} characters, got {limits[1:-1]}"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an MLLM answers."""

    text: str
    mllm: str
    """The MLLM that wrote it, "name@revision"."""


class HarmDetector(Protocol):
    """Scores responses."""

    @property
    def revision(self) -> str:
        """Return "name@revision": equal revisions give equal assessments."""

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange, whatever its neighbours are.

        Raises:
            DependencyError: the model is gone or late.
        """


class SecondOpinion(Protocol):
    """A detector of another kind than the one that decides, which may object to what that one lets pass."""

    @property
    def revision(self) -> str:
        """Return "name@revision": equal revisions give equal opinions."""

    async def find_objections(self, exchanges: Sequence[Exchange]) -> list[bool | None]:
        """Tell of each response whether it is harmful, whatever its neighbours are; same length and order.

        None where it cannot tell, also because it is gone or late: nothing waits for it.
        """


class Detoxifier(Protocol):
    """Writes harmless responses in place of harmful ones, by the methods that need a model."""

    @property
    def revision(self) -> str:
        """Return "name@revision": equal revisions give equal rewrites of equal requests."""

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response by the method of its request.

        What cannot be released anyway is an `ItemFailure`: an empty, cut or looping text, one in which nothing was
        changed, a method for which there is no model.

        Raises:
            DependencyError: the model is gone or late.
        """


class ResponseGenerator(Protocol):
    """The MLLM: answers conversations that have no response yet."""

    @property
    def revision(self) -> str:
        """Return "name@revision" of the model that answers, as far as is known: each answer names the one it is of."""

    async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
        """Answer each conversation.

        Raises:
            DependencyError: the model is gone or late.
        """


class ChatModel(Protocol):
    """The MLLM as a chat: a request in, the answer out, at once or while it is written; nobody has judged it.

    Requests and answers are objects of the OpenAI chat format, and nothing of an answer has been looked at: its reader
    must expect anything in it.
    """

    @property
    def name(self) -> str:
        """Return what the model is called by those who ask it."""

    @property
    def fields(self) -> frozenset[str] | None:
        """Return what of a request the model heeds beside `messages`; None: whatever it is."""

    async def complete(self, request: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        """Return the whole answer, a `chat.completion`.

        Args:
            request: its `messages`, and further fields as the caller wants them; neither `model` nor `stream`.

        Raises:
            RefusedByModelError: this request is refused.
            UnansweredError: what came is no answer.
            DependencyError: the model is gone, busy or late.
        """

    def stream(self, request: Mapping[str, JsonValue]) -> AsyncGenerator[Mapping[str, JsonValue], None]:
        """Yield the answer as it is written, each a `chat.completion.chunk`; closing the iterator ends the writing.

        It ends where the answer does: one that breaks off raises.

        Raises:
            RefusedByModelError: this request is refused.
            UnansweredError: what came is no answer.
            DependencyError: the model is gone, busy or late, or broke off.
        """


class ImageSource(Protocol):
    """Gets the bytes that image references stand for, in the process of the caller: it only waits for the network."""

    async def fetch(self, references: Sequence[str]) -> list[ImageContent | ItemFailure]:
        """Fetch each image, within limits of bytes and time; errors of failures are values of `ImageFault`.

        A host that is gone or late fails its own images: this raises nothing.
        """

    async def close(self) -> None:
        """Close connections; nothing is fetched any more."""


class ImageReader(Protocol):
    """Reads images: decodes them within limits, finds the text in them, compares them with known ones."""

    @property
    def revision(self) -> str:
        """Return "name@revision": equal revisions give equal readings of equal bytes."""

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        """Read each image, whatever its neighbours are; errors of failures are values of `ImageFault`.

        Raises:
            DependencyError: the model is gone or late.
        """


class VerdictCache(Protocol):
    """Keeps model outputs by key. A cache that is down or slow is a miss, within a bounded delay, and never raises."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what is stored under each key; None where nothing is or where the cache could not be asked in time."""

    async def put_many(self, values: Mapping[str, bytes], *, ttl_s: int | None = None) -> None:
        """Store values. Losing them is allowed.

        Args:
            values: by key.
            ttl_s: keep them no longer than this; None: as long as the cache keeps values.
        """


class Metrics(Protocol):
    """Counts what happens. Must not block or raise."""

    def count(self, metric: Metric, value: int = 1, **labels: str) -> None:
        """Add `value` (at least 0) to a counter."""


class Moderates(Protocol):
    """The one path: events in, verdicts or failures out."""

    async def moderate(self, events: Sequence[ConversationEvent]) -> list[Outcome]:
        """Moderate each event, whatever its neighbours are.

        Raises:
            DependencyError: a model is gone or late; nothing was decided.
            UnforeseenError: some event brings out a fault; nothing was decided.
        """
