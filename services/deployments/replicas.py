"""What Ray Serve runs: thin shells that load a model, warm it up, and pass calls on under the caller's deadline.

Callers send micro-batches, so nothing is batched here. `remaining_s` is how long the caller still waits: expired work
is refused, and a call that the caller gives up is cancelled by Serve, on whatever queue it waits. What a model takes
too long for is another matter: each has a deadline of its own, from its turn on, and says so (`LateError`). `alone` is
said of what may have ended a replica before: it has this one to itself.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from protector_models.detectors.loaded_detector import LoadedDetector
from protector_models.detoxification.detoxifier import ModelDetoxifier
from protector_models.mllms.mllm import LoadedGenerator
from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.images import ImageReading
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.ports import Answer, ImageReader, RewriteRequest
from protector_models.running.deadlines import within
from services.deployments.solitude import Solitude

_HEALTH_TIMEOUT_S = 25.0


class DetectorReplica:
    """A harm detector. It is ready when what of it runs here has scored something."""

    def __init__(self, load: Callable[[], LoadedDetector]) -> None:
        """Load the detector and run it.

        Args:
            load: gives the loaded detector.

        Raises:
            ModelUnavailableError: it cannot score the texts of the warm-up.
        """
        self._detector = load()
        self._solitude = Solitude()
        self._detector.warm_up()

    async def revision(self) -> str:
        """Return the detector's "name@revision"."""
        return self._detector.revision

    async def assess(
        self, exchanges: Sequence[Exchange], remaining_s: float, *, alone: bool = False
    ) -> list[Assessment | ItemFailure]:
        """Score each exchange.

        Raises:
            OccupiedError: another call has the replica to itself.
            ModelUnavailableError: the caller's time was over before the scores were there.
        """
        async with self._solitude.enter(alone=alone):
            return await within(
                remaining_s, lambda: self._detector.assess(exchanges), waiting_for=self._detector.revision
            )

    async def check_health(self) -> None:
        """Run what runs here; the health of a detector behind an endpoint is the endpoint's.

        Raises:
            ModelUnavailableError: it gave no finite score, or none in time.
        """
        await self._detector.check_health(timeout_s=_HEALTH_TIMEOUT_S)

    async def close(self) -> None:
        """Give threads and connections up."""
        await self._detector.close()


class LoadedImageReader(ImageReader, Protocol):
    """A reader that is ready, and holds threads."""

    async def check_health(self, *, timeout_s: float) -> None:
        """Read an image, on the threads that calls run on.

        Raises:
            ModelUnavailableError: it was not read, or not in time.
        """

    async def close(self) -> None:
        """Give threads up; the reader is of no use afterwards."""


class ImageReaderReplica:
    """Reads images."""

    def __init__(self, load: Callable[[], LoadedImageReader]) -> None:
        """Load the reader.

        Args:
            load: gives the loaded reader.
        """
        self._reader = load()
        self._solitude = Solitude()

    async def revision(self) -> str:
        """Return the reader's "name@revision"."""
        return self._reader.revision

    async def read(
        self, contents: Sequence[bytes], remaining_s: float, *, alone: bool = False
    ) -> list[ImageReading | ItemFailure]:
        """Read each image.

        Raises:
            OccupiedError: another call has the replica to itself.
            ModelUnavailableError: the caller's time was over before all were read.
        """
        async with self._solitude.enter(alone=alone):
            return await within(remaining_s, lambda: self._reader.read(contents), waiting_for=self._reader.revision)

    async def check_health(self) -> None:
        """Read an image, on the threads that calls run on.

        Raises:
            ModelUnavailableError: it was not read, or not in time.
        """
        await self._reader.check_health(timeout_s=_HEALTH_TIMEOUT_S)

    async def close(self) -> None:
        """Give the threads up."""
        await self._reader.close()


class DetoxifierReplica:
    """A detoxifier. It is ready when its edit model has edited something."""

    def __init__(self, load: Callable[[], ModelDetoxifier]) -> None:
        """Load the detoxifier and run its edit model.

        Args:
            load: gives the loaded detoxifier.

        Raises:
            ModelUnavailableError: the edit model cannot handle the texts of the warm-up.
        """
        self._detoxifier = load()
        self._solitude = Solitude()
        self._detoxifier.warm_up()

    async def revision(self) -> str:
        """Return the detoxifier's "name@revision"."""
        return self._detoxifier.revision

    async def rewrite(
        self, requests: Sequence[RewriteRequest], remaining_s: float, *, alone: bool = False
    ) -> list[Rewrite | ItemFailure]:
        """Rewrite each response.

        Raises:
            OccupiedError: another call has the replica to itself.
            ModelUnavailableError: the caller's time was over before the rewrites were there.
        """
        async with self._solitude.enter(alone=alone):
            return await within(
                remaining_s, lambda: self._detoxifier.rewrite(requests), waiting_for=self._detoxifier.revision
            )

    async def check_health(self) -> None:
        """Run the edit model. The health of a generative model behind an endpoint is the endpoint's.

        Raises:
            ModelUnavailableError: it gave no text, or none in time.
        """
        await self._detoxifier.check_health(timeout_s=_HEALTH_TIMEOUT_S)

    async def close(self) -> None:
        """Give threads and connections up."""
        await self._detoxifier.close()


class MllmReplica:
    """An MLLM."""

    def __init__(self, load: Callable[[], LoadedGenerator]) -> None:
        """Load the MLLM.

        Args:
            load: gives the loaded MLLM.
        """
        self._generator = load()
        self._solitude = Solitude()

    async def revision(self) -> str:
        """Return the MLLM's "name@revision"."""
        return self._generator.revision

    async def generate(
        self, events: Sequence[ConversationEvent], remaining_s: float, *, alone: bool = False
    ) -> list[Answer | ItemFailure]:
        """Answer each conversation.

        Raises:
            OccupiedError: another call has the replica to itself.
            ModelUnavailableError: the model is gone, busy or late, or the caller's time is over.
        """
        async with self._solitude.enter(alone=alone):
            return await within(
                remaining_s, lambda: self._generator.generate(events), waiting_for=self._generator.revision
            )

    async def check_health(self) -> None:
        """Look whether starting the model again would mend it. The health of an endpoint is its own.

        Raises:
            ModelUnavailableError: it would.
        """
        await self._generator.check_health(timeout_s=_HEALTH_TIMEOUT_S)

    async def close(self) -> None:
        """Give threads and connections up."""
        await self._generator.close()
