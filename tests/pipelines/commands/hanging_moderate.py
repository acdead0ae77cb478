"""`weir` with a detector that hangs on some responses for ever, for a process of its own: a test runs it."""

import threading
from collections.abc import Sequence

import services.moderators
from pipelines.__main__ import main
from protector_models.detectors.loaded_detector import DetectorFacts, ThreadedDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from tests.protector_models.synchronous_detector import PlainDetector

HANG = "hang"
_TIMEOUT_S = 0.5


class _HangingDetector(PlainDetector):
    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        if any(HANG in exchange.response for exchange in exchanges):
            threading.Event().wait()
        return super().assess(exchanges)


def _load_detector(*_: object, **__: object) -> ThreadedDetector:
    facts = DetectorFacts(threshold=0.5, categories=frozenset())
    return ThreadedDetector(_HangingDetector(), facts, timeout_s=_TIMEOUT_S, concurrency=1)


if __name__ == "__main__":
    vars(services.moderators)["load_detector"] = _load_detector
    main()
