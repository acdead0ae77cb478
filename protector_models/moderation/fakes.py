"""Fakes of every port, for tests and for trying things out. Never reached unless somebody names them."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.metric_names import Metric
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import Assessment, Coverage, ItemFailure, Rewrite

POISON = "POISON"
"""A text with this word is one that a fake model cannot handle."""


class FakeHarmDetector:
    """Finds a response as harmful as the largest number that stands after "harm=" in it; 0 without one.

    A category named as "category=NAME" gets the same score. A response with `POISON` is an `ItemFailure`; one in which
    no number follows "harm=" is a fault of the detector and raises `ValueError`. An image named "unreadable" keeps all
    images of its exchange from being evaluated.
    """

    def __init__(self, *, revision: str = "fake-detector@1", max_characters: int | None = None) -> None:
        """Make a detector.

        Args:
            revision: the revision it gives itself.
            max_characters: how many characters of an exchange it says it read; None says all.
        """
        self._revision = revision
        self._max_characters = max_characters
        self.assessed: list[Exchange] = []
        """Everything that was scored, in order."""
        self.unavailable = False
        """Set to make every call raise."""

    @property
    def revision(self) -> str:
        """Return "name@revision"."""
        return self._revision

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange by what stands in its response."""
        if self.unavailable:
            raise ModelUnavailableError("the fake detector is switched off")
        self.assessed.extend(exchanges)
        return [self._assess(exchange) for exchange in exchanges]

    def _assess(self, exchange: Exchange) -> Assessment | ItemFailure:
        if POISON in exchange.response:
            return ItemFailure(error="Poison", message="the response holds the word that fakes refuse")
        words = exchange.response.split()
        harmfulness = max((float(word[5:]) for word in words if word.startswith("harm=")), default=0.0)
        characters = len(exchange.prompt) + len(exchange.response)
        read = characters if self._max_characters is None else min(characters, self._max_characters)
        return Assessment(
            harmfulness=harmfulness,
            categories={word[9:]: harmfulness for word in words if word.startswith("category=")},
            detector=self._revision,
            truncated=read < characters,
            coverage=Coverage(
                characters_evaluated=read,
                characters_total=characters,
                images_evaluated=len(exchange.images) if all(image != "unreadable" for image in exchange.images) else 0,
                images_total=len(exchange.images),
            ),
        )


def harmless(request: RewriteRequest) -> str:
    """Write something that the fake detector finds harmless."""
    return f"rewritten, attempt {request.attempt}"


class FakeDetoxifier:
    """Writes what a function says. A prompt with `POISON`, or an empty rewrite, is an `ItemFailure`."""

    def __init__(
        self, write: Callable[[RewriteRequest], str] = harmless, *, revision: str = "fake-detoxifier@1"
    ) -> None:
        self._write = write
        self._revision = revision
        self.requested: list[RewriteRequest] = []
        """Everything that was asked for, in order."""

    @property
    def revision(self) -> str:
        """Return "name@revision"."""
        return self._revision

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response by the function."""
        self.requested.extend(requests)
        return [self._rewrite(request) for request in requests]

    def _rewrite(self, request: RewriteRequest) -> Rewrite | ItemFailure:
        text = "" if POISON in request.exchange.prompt else self._write(request)
        if not text:
            return ItemFailure(error="EmptyRewrite", message="expected at least one character")
        return Rewrite(text=text, detoxifier=self._revision)


def milder(text: str) -> str:
    """Replace what the fake detector finds harmful by a word."""
    return re.sub(r"\bharm=\S*", "mild", text)


class FakeTextEditor:
    """Edits as a function says. A text with `POISON` is an `ItemFailure`. Implements `TextEditor`."""

    def __init__(self, edit: Callable[[str], str] = milder, *, revision: str = "fake-editor@1") -> None:
        self._edit = edit
        self._revision = revision
        self.edited: list[str] = []
        """Everything that was to be edited, in order."""

    @property
    def revision(self) -> str:
        """Return "name@revision"."""
        return self._revision

    def edit(self, texts: Sequence[str]) -> list[str | ItemFailure]:
        """Edit each text by the function."""
        self.edited.extend(texts)
        failure = ItemFailure(error="Poison", message="the text holds the word that fakes refuse")
        return [failure if POISON in text else self._edit(text) for text in texts]


class FakeGenerator:
    """Answers with the last message's text. A last message with `POISON` is an `ItemFailure`."""

    revision = "fake-mllm@1"

    async def generate(self, events: Sequence[ConversationEvent]) -> list[str | ItemFailure]:
        """Echo the last message of each conversation."""
        texts = [event.messages[-1].text() for event in events]
        failure = ItemFailure(error="Poison", message="the last message holds the word that fakes refuse")
        return [failure if POISON in text else text for text in texts]


class DeadVerdictCache:
    """A cache that is always down: every look-up is a miss, everything stored is lost."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Find nothing."""
        return [None] * len(keys)

    async def put_many(self, values: Mapping[str, bytes]) -> None:
        """Lose everything."""


class RecordedMetrics:
    """Keeps counts in memory."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()

    def count(self, metric: Metric, value: int = 1, **labels: str) -> None:
        """Add to a counter."""
        self.counts[metric, frozenset(labels.items())] += value

    def total(self, metric: Metric) -> int:
        """Return a counter's sum over all labels."""
        return sum(value for (name, _), value in self.counts.items() if name == metric)
