"""The harm detector behind the cache: each distinct exchange is scored once."""

from collections.abc import Sequence

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fingerprint import assessment_key, exchange_fingerprint
from protector_models.moderation.ports import HarmDetector, Metrics, VerdictCache
from protector_models.moderation.recall import Recall, Recalled, require_revision
from protector_models.moderation.verdict import Assessment, ItemFailure


class RecalledDetector:
    """Gives assessments, from the cache where they are there."""

    def __init__(self, detector: HarmDetector, *, cache: VerdictCache, metrics: Metrics) -> None:
        self._detector = detector
        self._assessments = Recall(kind="assessment", model=Assessment, cache=cache, metrics=metrics)

    @property
    def revision(self) -> str:
        """The detector's "name@revision"; one behind a deployment gets a new one while this runs."""
        return self._detector.revision

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Recalled[Assessment]]:
        """Return the assessment of each exchange.

        Raises:
            DependencyError: the detector is gone or late.
        """
        revision = self._detector.revision

        async def assess(positions: Sequence[int]) -> Sequence[Assessment | ItemFailure]:
            outcomes = await self._detector.assess([exchanges[position] for position in positions])
            for outcome in outcomes:
                if isinstance(outcome, Assessment):
                    require_revision(outcome.detector, revision)
            return outcomes

        keys = [assessment_key(revision, exchange_fingerprint(exchange)) for exchange in exchanges]
        return await self._assessments.get_many(keys, assess)
