"""The model ports, asked persistently: `services.persistence` for each of them."""

import base64
import hashlib
from collections.abc import Sequence
from typing import Protocol, Self, TypeVar, runtime_checkable

import structlog

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.fingerprint import exchange_fingerprint, rewrite_key
from protector_models.moderation.images import ImageFault, ImageReading
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.one_turn import make_turn
from protector_models.moderation.ports import (
    Answer,
    Detoxifier,
    HarmDetector,
    ImageReader,
    Metrics,
    ResponseGenerator,
    RewriteRequest,
    Span,
)
from services.model_ports import ModelPorts
from services.patience import Patience, Report, report_batch_retries
from services.persistence import Asking, Persistence

PortT = TypeVar("PortT", HarmDetector, Detoxifier, ResponseGenerator, ImageReader)

_log = structlog.get_logger(__name__)

_EXCHANGE = Exchange(prompt="How are you?", response="Fine, thank you.")
_EVENT = make_turn("How are you?", None, event_id="control")
_IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mP8/x8AAusB9YpFyfwAAAAASUVORK5CYII="
)
"""A PNG of one pixel."""


@runtime_checkable
class HasReplicas(Protocol):
    """A model that can be asked in such a way that each call has one of its processes to itself."""

    def alone(self) -> Self:
        """Return it, asked in that way."""


def ask_persistently(models: ModelPorts, *, patience: Patience, metrics: Metrics) -> ModelPorts:
    """Return models that are waited for while they are away, and that no item can break for good.

    Args:
        models: in this process or behind deployments.
        patience: how long one that is away is waited for.
        metrics: counts tries that failed.
    """
    report = report_batch_retries(_log, "a model is asked again", metrics)
    return ModelPorts(
        detector=PersistentDetector(models.detector, patience, report),
        detoxifier=models.detoxifier and PersistentDetoxifier(models.detoxifier, patience, report),
        generator=models.generator and PersistentGenerator(models.generator, patience, report),
        image_reader=models.image_reader and PersistentImageReader(models.image_reader, patience, report),
    )


class PersistentDetector:
    """A detector that is asked persistently. Implements `HarmDetector`."""

    def __init__(self, detector: HarmDetector, patience: Patience, report: Report) -> None:
        self._detector = detector
        asking: Asking[Exchange, Assessment] = Asking(
            ask=detector.assess,
            ask_alone=_alone(detector).assess,
            control=lambda _: _EXCHANGE,
            name=exchange_fingerprint,
        )
        self._persistence = Persistence(asking, patience=patience, report=report)

    @property
    def revision(self) -> str:
        """The detector's "name@revision"."""
        return self._detector.revision

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange.

        Raises:
            DependencyError: the detector stayed away.
        """
        return await self._persistence.ask(exchanges)


class PersistentDetoxifier:
    """A detoxifier that is asked persistently. Implements `Detoxifier`."""

    def __init__(self, detoxifier: Detoxifier, patience: Patience, report: Report) -> None:
        self._detoxifier = detoxifier
        asking: Asking[RewriteRequest, Rewrite] = Asking(
            ask=detoxifier.rewrite,
            ask_alone=_alone(detoxifier).rewrite,
            control=_rewrite_harmless,
            name=lambda request: rewrite_key("", request, exchange_fingerprint(request.exchange)),
        )
        self._persistence = Persistence(asking, patience=patience, report=report)

    @property
    def revision(self) -> str:
        """The detoxifier's "name@revision"."""
        return self._detoxifier.revision

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response.

        Raises:
            DependencyError: the detoxifier stayed away.
        """
        return await self._persistence.ask(requests)


class PersistentGenerator:
    """An MLLM that is asked persistently. Implements `ResponseGenerator`."""

    def __init__(self, generator: ResponseGenerator, patience: Patience, report: Report) -> None:
        self._generator = generator
        asking: Asking[ConversationEvent, Answer] = Asking(
            ask=generator.generate,
            ask_alone=_alone(generator).generate,
            control=lambda _: _EVENT,
            name=_name_conversation,
        )
        self._persistence = Persistence(asking, patience=patience, report=report)

    @property
    def revision(self) -> str:
        """The MLLM's "name@revision"."""
        return self._generator.revision

    async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
        """Answer each conversation.

        Raises:
            DependencyError: the MLLM stayed away.
        """
        return await self._persistence.ask(events)


class PersistentImageReader:
    """An image reader that is asked persistently. Implements `ImageReader`."""

    def __init__(self, reader: ImageReader, patience: Patience, report: Report) -> None:
        self._reader = reader
        asking: Asking[bytes, ImageReading] = Asking(
            ask=reader.read,
            ask_alone=_alone(reader).read,
            control=lambda _: _IMAGE,
            name=lambda content: hashlib.sha256(content).hexdigest(),
            # Why an image is unread is one of a few words, which policies and dashboards know.
            conviction=lambda _: ImageFault.TEXT_NOT_READ,
        )
        self._persistence = Persistence(asking, patience=patience, report=report)

    @property
    def revision(self) -> str:
        """The reader's "name@revision"."""
        return self._reader.revision

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        """Read each image.

        Raises:
            DependencyError: the reader stayed away.
        """
        return await self._persistence.ask(contents)


def _alone(model: PortT) -> PortT:
    return model.alone() if isinstance(model, HasReplicas) else model


def _rewrite_harmless(request: RewriteRequest) -> RewriteRequest:
    """Return the same wish for a harmless response: other methods may be other models."""
    whole = Span(start=0, end=len(_EXCHANGE.response))
    spans = (whole,) if request.spans else ()
    return RewriteRequest(exchange=_EXCHANGE, method=request.method, spans=spans, category=request.category)


def _name_conversation(event: ConversationEvent) -> str:
    """Name what an MLLM is shown of an event."""
    messages = "".join(message.model_dump_json() for message in event.messages)
    return hashlib.sha256(messages.encode()).hexdigest()
