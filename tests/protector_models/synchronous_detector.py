"""A synchronous detector for tests: the fake's scores, computed on the thread that calls."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from protector_models.detectors.loaded_detector import DetectorFacts, ThreadedDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fakes import POISON
from protector_models.moderation.model_outputs import Assessment, Coverage, ItemFailure
from protector_models.running.model_threads import SynchronousHarmDetector

DIE_ONCE = "die-once:"
"""A response that begins so ends the process that scores it, unless the file that it names is there."""


class PlainDetector:
    """Scores a response by the number after "harm=" in it. A response with `POISON` is an `ItemFailure`."""

    revision = "plain-detector@1"

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange."""
        return [self._assess(exchange) for exchange in exchanges]

    def _assess(self, exchange: Exchange) -> Assessment | ItemFailure:
        if POISON in exchange.response:
            return ItemFailure(error="Poison", message="the response holds the word that fakes refuse")
        if exchange.response.startswith(DIE_ONCE):
            _die_once(Path(exchange.response.removeprefix(DIE_ONCE)))
        words = exchange.response.split()
        characters = len(exchange.question()) + len(exchange.response)
        return Assessment(
            harmfulness=max((float(word[5:]) for word in words if word.startswith("harm=")), default=0.0),
            categories={},
            detector=self.revision,
            truncated=False,
            coverage=Coverage.of(exchange, characters_evaluated=characters, characters_total=characters),
        )


class BlockedDetector(PlainDetector):
    """Scores nothing until it is released."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.released = threading.Event()
        self.calls = 0

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Wait for the release, then score."""
        self.calls += 1
        self.started.set()
        self.released.wait()
        return super().assess(exchanges)


def load_threaded(model: SynchronousHarmDetector) -> ThreadedDetector:
    """Put a detector behind threads, as loading one does."""
    facts = DetectorFacts(threshold=0.5, categories=frozenset())
    return ThreadedDetector(model, facts, timeout_s=60.0, concurrency=1)


def load_plain() -> ThreadedDetector:
    """Load the plain detector."""
    return load_threaded(PlainDetector())


def _die_once(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os._exit(1)
