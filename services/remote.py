"""The model ports over handles to Ray Serve deployments; `remote_calls` has deadlines and tries."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.images import ImageFault, ImageReading
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import Assessment, ItemFailure, Rewrite
from services.remote_calls import Calls, ReplicaDiedError, ServeHandle, ask
from services.settings import CallSettings

ItemT = TypeVar("ItemT")


class _Revision:
    """The revision of the model behind a deployment, as far as is known."""

    def __init__(self, value: str) -> None:
        self.value = value

    def expect(self, seen: str) -> None:
        """Take note of a revision that was seen; outputs of one must not be cached under the name of another.

        Raises:
            ModelUnavailableError: it is a new one; what was asked under the old one must be asked again.
        """
        if seen != self.value:
            known, self.value = self.value, seen
            raise ModelUnavailableError(f"the deployment went from {known} to {seen}: try again under that revision")


class RemoteHarmDetector:
    """The harm detector behind a deployment. Implements `HarmDetector`."""

    def __init__(self, calls: Calls[Exchange, Assessment | ItemFailure], *, revision: str) -> None:
        self._calls = calls
        self._revision = _Revision(revision)

    @classmethod
    async def connect(
        cls, handle: ServeHandle, *, connect_timeout_s: float, timeout_s: float, calls: CallSettings
    ) -> Self:
        """Ask the deployment for its revision; replicas may still be starting.

        Raises:
            ModelUnavailableError: they are not up in time.
        """
        revision = await ask(handle, "revision", timeout_s=connect_timeout_s)
        return cls(
            _text_calls(handle, "assess", _exchange_size, timeout_s=timeout_s, settings=calls), revision=revision
        )

    @property
    def revision(self) -> str:
        """The revision that scored last: it changes when the deployment gets a new model."""
        return self._revision.value

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange.

        Raises:
            ModelUnavailableError: replicas are gone or late, or have a new revision, under which to try again.
        """
        outcomes = await self._calls.map(exchanges)
        for outcome in outcomes:
            if isinstance(outcome, Assessment):
                self._revision.expect(outcome.detector)
        return outcomes


class RemoteImageReader:
    """What reads images, behind a deployment. Implements `ImageReader`.

    An image takes a replica half a second and more: each is a call of its own. One that ends the process that reads it,
    which decoders may do, is a failure of its own too: else it would be tried again for ever, and its batch with it.
    """

    def __init__(self, handle: ServeHandle, *, timeout_s: float, settings: CallSettings, revision: str) -> None:
        def calls(max_attempts: int) -> Calls[bytes, ImageReading | ItemFailure]:
            return Calls(
                handle,
                "read",
                timeout_s=timeout_s,
                settings=settings.model_copy(update={"max_attempts": max_attempts}),
                size=len,
                max_size=settings.max_image_bytes,
                max_items=1,
            )

        self._first_calls = calls(1)
        self._further_calls = calls(max(1, settings.max_attempts - 1))
        self._one_suspect = asyncio.Lock()
        self._revision = _Revision(revision)

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
        """The revision that read last: it changes when the deployment gets a new model."""
        return self._revision.value

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        """Read each image.

        Raises:
            ModelUnavailableError: replicas are gone or late, or have a new revision, under which to try again.
        """
        try:
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(self._read(content)) for content in contents]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        outcomes = [call.result() for call in calls]
        for outcome in outcomes:
            if isinstance(outcome, ImageReading):
                self._revision.expect(outcome.reader)
        return outcomes

    async def _read(self, content: bytes) -> ImageReading | ItemFailure:
        try:
            (outcome,) = await self._first_calls.map([content])
        except ReplicaDiedError:
            # Perhaps of another image that it read at the same time. Suspects are tried one after the other.
            async with self._one_suspect:
                return await self._read_suspect(content)
        return outcome

    async def _read_suspect(self, content: bytes) -> ImageReading | ItemFailure:
        try:
            (outcome,) = await self._further_calls.map([content])
        except ReplicaDiedError:
            message = "every process that was to read it died"
            return ItemFailure(error=ImageFault.TEXT_NOT_READ, message=message)
        return outcome


class RemoteDetoxifier:
    """The detoxifier behind a deployment. Implements `Detoxifier`."""

    def __init__(self, calls: Calls[RewriteRequest, Rewrite | ItemFailure], *, revision: str) -> None:
        self._calls = calls
        self._revision = _Revision(revision)

    @classmethod
    async def connect(
        cls, handle: ServeHandle, *, connect_timeout_s: float, timeout_s: float, calls: CallSettings
    ) -> Self:
        """Ask the deployment for its revision; replicas may still be starting.

        Raises:
            ModelUnavailableError: they are not up in time.
        """
        revision = await ask(handle, "revision", timeout_s=connect_timeout_s)
        return cls(
            _text_calls(handle, "rewrite", _request_size, timeout_s=timeout_s, settings=calls), revision=revision
        )

    @property
    def revision(self) -> str:
        """The revision that wrote last: it changes when the deployment gets a new model."""
        return self._revision.value

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Rewrite each response.

        Raises:
            ModelUnavailableError: replicas are gone or late, or have a new revision, under which to try again.
        """
        outcomes = await self._calls.map(requests)
        for outcome in outcomes:
            if isinstance(outcome, Rewrite):
                self._revision.expect(outcome.detoxifier)
        return outcomes


class RemoteGenerator:
    """The MLLM behind a deployment. Implements `ResponseGenerator`."""

    def __init__(self, calls: Calls[ConversationEvent, str | ItemFailure], *, revision: str) -> None:
        self._calls = calls
        self._revision = revision

    @classmethod
    async def connect(
        cls, handle: ServeHandle, *, connect_timeout_s: float, timeout_s: float, calls: CallSettings
    ) -> Self:
        """Ask the deployment for its revision; replicas may still be starting.

        Raises:
            ModelUnavailableError: they are not up in time.
        """
        revision = await ask(handle, "revision", timeout_s=connect_timeout_s)
        asked = _text_calls(handle, "generate", partial(_event_size, calls), timeout_s=timeout_s, settings=calls)
        return cls(asked, revision=revision)

    @property
    def revision(self) -> str:
        """The revision that was there when this was connected; answers do not name theirs."""
        return self._revision

    async def generate(self, events: Sequence[ConversationEvent]) -> list[str | ItemFailure]:
        """Answer each conversation.

        Raises:
            ModelUnavailableError: replicas or the endpoint are gone or late.
        """
        return await self._calls.map(events)


def _text_calls(
    handle: ServeHandle, method: str, size: Callable[[ItemT], int], *, timeout_s: float, settings: CallSettings
) -> Calls[ItemT, Any]:
    """Return calls that are cut by characters of text."""
    return Calls(
        handle,
        method,
        timeout_s=timeout_s,
        settings=settings,
        size=size,
        max_size=settings.max_characters,
        max_items=settings.max_items,
    )


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
