"""Any detector as a second opinion on rewrites: it says where it finds harm, and where it cannot tell."""

import asyncio
from collections.abc import Sequence

from protector_models.detectors.loaded_detector import LoadedDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import DependencyError
from protector_models.moderation.model_outputs import Assessment, ItemFailure


class DetectorOpinion:
    """A detector's own threshold decides what it objects to. Implements `SecondOpinion`."""

    def __init__(self, detector: LoadedDetector, *, timeout_s: float) -> None:
        """Ask a detector, and wait no longer than `timeout_s` seconds for what it says of a batch."""
        self._detector = detector
        self._timeout_s = timeout_s

    @property
    def revision(self) -> str:
        """The detector's "name@revision"."""
        return self._detector.revision

    async def find_objections(self, exchanges: Sequence[Exchange]) -> list[bool | None]:
        """Tell of each response whether it is harmful; None where it failed, is away or late, or read a part."""
        try:
            async with asyncio.timeout(self._timeout_s):
                assessed = await self._detector.assess(exchanges)
        except (DependencyError, TimeoutError):
            return [None] * len(exchanges)
        return [self._objects_to(found) for found in assessed]

    def _objects_to(self, found: Assessment | ItemFailure) -> bool | None:
        if isinstance(found, ItemFailure):
            return None
        if found.harmfulness >= self._detector.threshold:
            return True
        return None if found.truncated else False
