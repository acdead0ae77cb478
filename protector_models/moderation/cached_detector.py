"""The harm detector behind the cache: each distinct exchange is scored once."""

from collections.abc import Sequence

from protector_models.moderation.cached_outputs import CachedOutputs, ObtainedOutput
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fingerprint import assessment_key, exchange_fingerprint
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.ports import HarmDetector, Metrics, VerdictCache


class CachedDetector:
    """Gives assessments, from the cache where they are there."""

    def __init__(self, detector: HarmDetector, *, cache: VerdictCache, metrics: Metrics) -> None:
        self._detector = detector
        self._assessments = CachedOutputs(
            kind="assessment",
            model=Assessment,
            key=_key,
            revision_of=lambda assessment: assessment.detector,
            cache=cache,
            metrics=metrics,
        )

    @property
    def revision(self) -> str:
        """The detector's "name@revision"; one behind a deployment gets a new one while this runs."""
        return self._detector.revision

    async def assess(self, exchanges: Sequence[Exchange]) -> list[ObtainedOutput[Assessment]]:
        """Return the assessment of each exchange. Where the detector is just being replaced, each names its own.

        Raises:
            DependencyError: the detector is gone or late.
        """
        return await self._assessments.get_many(exchanges, self._detector.assess, revision=self._detector.revision)

    async def assess_if_there(self, exchanges: Sequence[Exchange]) -> list[ObtainedOutput[Assessment]]:
        """Return the assessment of each exchange; an `Outage` where it is not to be had while the detector is away."""
        return await self._assessments.get_many(
            exchanges, self._detector.assess, revision=self._detector.revision, notes_outages=True
        )


def _key(revision: str, exchange: Exchange) -> str:
    return assessment_key(revision, exchange_fingerprint(exchange))
