"""The seams to everything outside the core: models, cache, metrics. Each has a fake in `fakes` and a contract suite.

All model ports are asynchronous, plural in and plural out: the result has the length and order of the input. An item
that a model cannot handle is a value (`ItemFailure`) and leaves its neighbours alone. A dead or late dependency raises
`DependencyError`: then nothing was decided and the caller may try the batch again. Every call may be repeated and
several may run at once; an empty input gives an empty result.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.metric_names import Metric
from protector_models.moderation.verdict import Assessment, ItemFailure, Outcome, Rewrite


class RewriteRequest(BaseModel):
    """What a detoxifier gets: the exchange, why it was found harmful, and how often it was tried before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchange: Exchange
    category: str | None
    attempt: int
    """0 for the first try. A detoxifier that always writes the same may fail on later ones."""
    safe_completion: str
    """The policy's own text for this category and tenant: what stands in where no rewrite passes."""


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


class Detoxifier(Protocol):
    """Writes harmless responses in place of harmful ones."""

    @property
    def revision(self) -> str:
        """Return "name@revision": equal revisions give equal rewrites of equal requests."""

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response. An empty or cut rewrite is an `ItemFailure`.

        Raises:
            DependencyError: the model is gone or late.
        """


class ResponseGenerator(Protocol):
    """The MLLM: answers conversations that have no response yet."""

    @property
    def revision(self) -> str:
        """Return "name@revision" of the model that answers."""

    async def generate(self, events: Sequence[ConversationEvent]) -> list[str | ItemFailure]:
        """Answer each conversation.

        Raises:
            DependencyError: the model is gone or late.
        """


class VerdictCache(Protocol):
    """Keeps model outputs by key. A cache that is down or slow is a miss, within a bounded delay, and never raises."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what is stored under each key; None where nothing is or where the cache could not be asked in time."""

    async def put_many(self, values: Mapping[str, bytes]) -> None:
        """Store values. Losing them is allowed."""


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
        """
