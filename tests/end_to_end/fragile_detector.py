"""A detector for trouble: its process dies of one text, and another revision of it may take its place."""

import os
import time
from collections.abc import Sequence

from protector_models.detectors.loaded_detector import ThreadedDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from tests.protector_models.synchronous_detector import PlainDetector, load_threaded

DEADLY = "Say this to the detector, and it dies."
"""A response that ends the process that scores it."""

_TEXT_S = 0.003
"""What a text takes, so that there is a middle of a run in which trouble can come."""


class FragileDetector(PlainDetector):
    """Scores everything but one text."""

    def __init__(self, revision: str) -> None:
        self.revision = revision

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange, or die."""
        if any(exchange.response == DEADLY for exchange in exchanges):
            os._exit(1)
        time.sleep(_TEXT_S * len(exchanges))
        return super().assess(exchanges)


def load_fragile(revision: str, *, num_threads: int, timeout_s: float) -> ThreadedDetector:
    """Load the detector in a replica."""
    del num_threads, timeout_s
    return load_threaded(FragileDetector(revision))
