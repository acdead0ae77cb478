"""An asynchronous detector as the harness asks it: one call at a time, waited for."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from protector_models.detectors.loaded_detector import LoadedDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment, ItemFailure


class BlockingDetector:
    """Runs a detector on an event loop of its own. Implements `Assesses`; as a context manager it closes it."""

    def __init__(self, detector: LoadedDetector) -> None:
        self._detector = detector
        # One loop for all calls: connections belong to the loop that they were opened on.
        self._runner = asyncio.Runner()

    @property
    def revision(self) -> str:
        """The detector's name and revision."""
        return self._detector.revision

    @property
    def threshold(self) -> float:
        """The detector's own."""
        return self._detector.threshold

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Scores each exchange, in order.

        Raises:
            DependencyError: the detector is gone or late.
        """
        return self._runner.run(self._detector.assess(exchanges))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._runner.run(self._detector.close())
        self._runner.close()
