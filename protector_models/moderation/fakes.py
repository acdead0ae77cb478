"""Fakes of every port, for tests and for trying things out. Never reached unless somebody names them."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.images import ImageContent, ImageFault, ImageReading
from protector_models.moderation.metric_names import Metric
from protector_models.moderation.model_outputs import Assessment, Coverage, ItemFailure, Rewrite
from protector_models.moderation.ports import Answer, RewriteRequest

POISON = "POISON"
"""A text with this word is one that a fake model cannot handle."""


class FakeHarmDetector:
    """Finds a response as harmful as the largest number that stands after "harm=" in it; 0 without one.

    A category named as "category=NAME" gets the same score. A text without a prompt that says "need=NAME" is of a
    person with that need; an answer with "careless" in it is careless. A response with `POISON` is an `ItemFailure`;
    one in which no number follows "harm=" is a fault of the detector and raises `ValueError`.
    """

    def __init__(self, *, revision: str = "fake-detector@1", max_characters: int | None = None) -> None:
        """Make a detector.

        Args:
            revision: the revision it gives itself.
            max_characters: how many characters of an exchange it says it read; None says all.
        """
        self.revision = revision
        """Its "name@revision". Set to put another model in its place."""
        self._max_characters = max_characters
        self.assessed: list[Exchange] = []
        """Everything that was scored, in order."""
        self.unavailable = False
        """Set to make every call raise."""

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
        characters = len(exchange.question()) + len(exchange.response)
        read = characters if self._max_characters is None else min(characters, self._max_characters)
        return Assessment(
            harmfulness=harmfulness,
            categories={word[9:]: harmfulness for word in words if word.startswith("category=")},
            detector=self.revision,
            truncated=read < characters,
            coverage=Coverage.of(exchange, characters_evaluated=read, characters_total=characters),
            needs={} if exchange.prompt else {word[5:]: 1.0 for word in words if word.startswith("need=")},
            carelessness=1.0 if exchange.prompt and "careless" in words else None,
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
        self.revision = revision
        """Its "name@revision". Set to put another model in its place."""
        self.requested: list[RewriteRequest] = []
        """Everything that was asked for, in order."""
        self.unavailable = False
        """Set to make every call raise."""

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response by the function."""
        if self.unavailable:
            raise ModelUnavailableError("the fake detoxifier is switched off")
        self.requested.extend(requests)
        return [self._rewrite(request) for request in requests]

    def _rewrite(self, request: RewriteRequest) -> Rewrite | ItemFailure:
        text = "" if POISON in request.exchange.prompt else self._write(request)
        if not text:
            return ItemFailure(error="EmptyRewrite", message="expected at least one character")
        return Rewrite(text=text, detoxifier=self.revision)


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

    def __init__(self, *, revision: str = "fake-mllm@1") -> None:
        self.revision = revision
        """Its "name@revision". Set to put another model in its place."""
        self.unavailable = False
        """Set to make every call raise."""

    async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
        """Echo the last message of each conversation."""
        if self.unavailable:
            raise ModelUnavailableError("the fake MLLM is switched off")
        texts = [event.messages[-1].text() for event in events]
        failure = ItemFailure(error="Poison", message="the last message holds the word that fakes refuse")
        return [failure if POISON in text else Answer(text=text, mllm=self.revision) for text in texts]


class FakeImageSource:
    """Gives the bytes that a mapping has for a reference; each other reference is an `ItemFailure`, FetchFailed."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents
        self.fetched: list[str] = []
        """Every reference that was asked for, in order."""
        self.closed = False

    async def fetch(self, references: Sequence[str]) -> list[ImageContent | ItemFailure]:
        """Look each reference up."""
        self.fetched.extend(references)
        return [self._fetch(reference) for reference in references]

    def _fetch(self, reference: str) -> ImageContent | ItemFailure:
        data = self._contents.get(reference)
        if data is None:
            return ItemFailure(error=ImageFault.FETCH_FAILED, message="the fake source has no such image")
        return ImageContent(data=data, media_type="image/png", sha256=hashlib.sha256(data).hexdigest())

    async def close(self) -> None:
        """Remember it."""
        self.closed = True


class FakeImageReader:
    """Reads bytes as text. Bytes with `POISON` are an `ItemFailure`, CorruptImage.

    An image with a word "known=NAME" is known as NAME; one with "image=NUMBER:CATEGORY" has that score there.
    """

    def __init__(self, *, revision: str = "fake-reader@1") -> None:
        self.revision = revision
        self.read_contents: list[bytes] = []
        """Everything that was read, in order."""
        self.unavailable = False
        """Set to make every call raise."""

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        """Read each image."""
        if self.unavailable:
            raise ModelUnavailableError("the fake reader is switched off")
        self.read_contents.extend(contents)
        return [self._read(content) for content in contents]

    def _read(self, content: bytes) -> ImageReading | ItemFailure:
        text = content.decode(errors="replace")
        if POISON in text:
            return ItemFailure(error=ImageFault.CORRUPT_IMAGE, message="the image holds the word that fakes refuse")
        words = text.split()
        scores = [word[6:].split(":", 1) for word in words if word.startswith("image=")]
        sha256 = hashlib.sha256(content).hexdigest()
        return ImageReading(
            sha256=sha256,
            perceptual_hash=sha256[:16],
            width=1,
            height=1,
            text=text,
            categories={category: float(score) for score, category in scores},
            known_as=next((word[6:] for word in words if word.startswith("known=")), None),
            reader=self.revision,
        )


class DeadVerdictCache:
    """A cache that is always down: every look-up is a miss, everything stored is lost."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Find nothing."""
        return [None] * len(keys)

    async def put_many(self, values: Mapping[str, bytes], *, ttl_s: int | None = None) -> None:
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
