"""The model ports over handles to Ray Serve deployments; `services.deployments.calls` has deadlines and tries."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.images import ImageReading
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.ports import Answer, RewriteRequest
from services.deployments.calls import Calls, ServeHandle, ask
from services.settings import CallSettings

ItemT = TypeVar("ItemT")


class RemoteModel:
    """A model behind a deployment: how to reach it, and its revision as far as that is known."""

    def __init__(
        self, handle: ServeHandle, *, timeout_s: float, settings: CallSettings, revision: str, alone: bool = False
    ) -> None:
        """Prepare calls; none is made. `connect` is the way to one.

        Args:
            handle: to the deployment.
            timeout_s: how long one call may take, all tries included.
            settings: how a batch is cut into calls.
            revision: "name@revision" of the model.
            alone: whether each call has a replica to itself.
        """
        self._handle = handle
        self._timeout_s = timeout_s
        self._settings = settings
        self._revision = revision
        self._alone = alone

    @classmethod
    async def connect(
        cls, handle: ServeHandle, *, connect_timeout_s: float, timeout_s: float, calls: CallSettings
    ) -> Self:
        """Ask the deployment for its revision; replicas may still be starting.

        Raises:
            ModelUnavailableError: they are not up in time.
        """
        revision = await ask(handle, "revision", timeout_s=connect_timeout_s)
        return cls(handle, timeout_s=timeout_s, settings=calls, revision=revision)

    @property
    def revision(self) -> str:
        """The revision that gave a result last: it changes when the deployment gets a new model."""
        return self._revision

    def alone(self) -> Self:
        """Return the same model, asked in such a way that each call has a replica to itself."""
        return type(self)(
            self._handle, timeout_s=self._timeout_s, settings=self._settings, revision=self._revision, alone=True
        )

    def _note(self, seen: Iterable[str]) -> None:
        """Take note of the revisions that outputs name; while a deployment is updated there are two."""
        for revision in seen:
            self._revision = revision

    def _text_calls(self, method: str, size: Callable[[ItemT], int]) -> Calls[ItemT, Any]:
        """Return calls that are cut by characters of text."""
        return Calls(
            self._handle,
            method,
            timeout_s=self._timeout_s,
            settings=self._settings,
            size=size,
            max_size=self._settings.max_characters,
            max_items=self._settings.max_items,
            alone=self._alone,
        )


class RemoteHarmDetector(RemoteModel):
    """The harm detector behind a deployment. Implements `HarmDetector`."""

    def __init__(
        self, handle: ServeHandle, *, timeout_s: float, settings: CallSettings, revision: str, alone: bool = False
    ) -> None:
        super().__init__(handle, timeout_s=timeout_s, settings=settings, revision=revision, alone=alone)
        self._calls: Calls[Exchange, Assessment | ItemFailure] = self._text_calls("assess", _exchange_size)

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange.

        Raises:
            ModelUnavailableError: replicas are gone or late.
        """
        outcomes = await self._calls.map(exchanges)
        self._note(outcome.detector for outcome in outcomes if isinstance(outcome, Assessment))
        return outcomes


class RemoteImageReader(RemoteModel):
    """What reads images, behind a deployment. Implements `ImageReader`.

    An image takes a replica half a second and more: each is a call of its own.
    """

    def __init__(
        self, handle: ServeHandle, *, timeout_s: float, settings: CallSettings, revision: str, alone: bool = False
    ) -> None:
        super().__init__(handle, timeout_s=timeout_s, settings=settings, revision=revision, alone=alone)
        self._calls: Calls[bytes, ImageReading | ItemFailure] = Calls(
            handle,
            "read",
            timeout_s=timeout_s,
            settings=settings,
            size=len,
            max_size=settings.max_image_bytes,
            max_items=1,
            alone=alone,
        )

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        """Read each image.

        Raises:
            ModelUnavailableError: replicas are gone or late.
        """
        outcomes = await self._calls.map(contents)
        self._note(outcome.reader for outcome in outcomes if isinstance(outcome, ImageReading))
        return outcomes


class RemoteDetoxifier(RemoteModel):
    """The detoxifier behind a deployment. Implements `Detoxifier`."""

    def __init__(
        self, handle: ServeHandle, *, timeout_s: float, settings: CallSettings, revision: str, alone: bool = False
    ) -> None:
        super().__init__(handle, timeout_s=timeout_s, settings=settings, revision=revision, alone=alone)
        self._calls: Calls[RewriteRequest, Rewrite | ItemFailure] = self._text_calls("rewrite", _request_size)

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response.

        Raises:
            ModelUnavailableError: replicas are gone or late.
        """
        outcomes = await self._calls.map(requests)
        self._note(outcome.detoxifier for outcome in outcomes if isinstance(outcome, Rewrite))
        return outcomes


class RemoteGenerator(RemoteModel):
    """The MLLM behind a deployment. Implements `ResponseGenerator`."""

    def __init__(
        self, handle: ServeHandle, *, timeout_s: float, settings: CallSettings, revision: str, alone: bool = False
    ) -> None:
        super().__init__(handle, timeout_s=timeout_s, settings=settings, revision=revision, alone=alone)
        size = partial(_event_size, settings)
        self._calls: Calls[ConversationEvent, Answer | ItemFailure] = self._text_calls("generate", size)

    async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
        """Answer each conversation.

        Raises:
            ModelUnavailableError: replicas or the endpoint are gone or late.
        """
        outcomes = await self._calls.map(events)
        self._note(outcome.mllm for outcome in outcomes if isinstance(outcome, Answer))
        return outcomes


def _exchange_size(exchange: Exchange) -> int:
    return len(exchange.question()) + len(exchange.response)


def _request_size(request: RewriteRequest) -> int:
    return _exchange_size(request.exchange)


def _event_size(calls: CallSettings, event: ConversationEvent) -> int:
    """Return the characters of an event's text, its images counted for the share of a call that they fill."""
    # In base64, 4 characters are 3 bytes.
    num_bytes = sum(len(reference) for reference in event.image_references()) * 3 // 4
    text = sum(len(message.text()) for message in event.messages)
    return text + num_bytes * calls.max_characters // calls.max_image_bytes
