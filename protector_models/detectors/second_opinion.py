"""Any detector as a second opinion on rewrites: it objects where it finds harm, and where it cannot tell."""

from collections.abc import Sequence

from protector_models.detectors.loaded_detector import LoadedDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment


class DetectorOpinion:
    """A detector's own threshold decides what it objects to. Implements `SecondOpinion`."""

    def __init__(self, detector: LoadedDetector) -> None:
        self._detector = detector

    @property
    def revision(self) -> str:
        """The detector's "name@revision"."""
        return self._detector.revision

    async def find_objections(self, exchanges: Sequence[Exchange]) -> list[bool]:
        """Tell of each response whether it is harmful, or could not be judged.

        Raises:
            DependencyError: the detector is gone or late.
        """
        threshold = self._detector.threshold
        return [
            not isinstance(found, Assessment) or found.harmfulness >= threshold
            for found in await self._detector.assess(exchanges)
        ]
