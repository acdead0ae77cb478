"""A harm detector that is loaded and ready: what every kind has in common, and the form of those that run here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from protector_models.guards.verdicts import UNREADABLE_VERDICT
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.ports import HarmDetector
from protector_models.running.model_threads import InProcessHarmDetector, SynchronousHarmDetector
from protector_models.running.split_runs import is_total_failure

_OWN_EXCHANGES = [
    Exchange(prompt="How are you? " * length, response="I am fine, thank you. " * length) for length in (1, 4, 16, 64)
]
"""Short and long ones: the first run on each length of input is the slow one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorFacts:
    """What can be said of a detector without its weights."""

    threshold: float
    """Harmfulness from which on a response counts as harmful, unless a policy says otherwise."""
    categories: frozenset[str]
    """The categories that it gives a score for, in our words."""
    category_thresholds: Mapping[str, float] = field(default_factory=dict)
    """Of categories whose harm is to be found at another score than `threshold`."""


class LoadedDetector(HarmDetector, Protocol):
    """A detector that is ready, and holds threads or connections."""

    @property
    def threshold(self) -> float:
        """Harmfulness from which on a response counts as harmful, unless a policy says otherwise."""

    @property
    def categories(self) -> frozenset[str]:
        """The categories that it gives a score for, in our words."""

    def warm_up(self) -> None:
        """Run what runs in this process once on texts of several lengths, on this thread; it blocks.

        A model behind an endpoint is not asked: that may cost money.

        Raises:
            ModelUnavailableError: it gave no scores.
        """

    async def check_health(self, *, timeout_s: float) -> None:
        """Run what runs in this process, on the threads that calls run on, unless calls tell that it is well.

        A model behind an endpoint is not asked: that may cost money, and starting this process again would not mend it.

        Raises:
            ModelUnavailableError: it gave no scores, or none in time.
        """

    async def close(self) -> None:
        """Give threads and connections up; the detector is of no use afterwards."""


class ThreadedDetector:
    """A synchronous model on threads of this process. Implements `LoadedDetector`."""

    def __init__(
        self, model: SynchronousHarmDetector, facts: DetectorFacts, *, timeout_s: float, concurrency: int
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: computes on the thread that calls it.
            facts: its threshold and categories.
            timeout_s: how long a call may take once a thread has taken it.
            concurrency: how many calls compute at the same time; further ones wait.
        """
        self._model = model
        self._facts = facts
        self._detector = InProcessHarmDetector(model, timeout_s=timeout_s, concurrency=concurrency)

    @property
    def revision(self) -> str:
        """The revision of the model."""
        return self._model.revision

    @property
    def threshold(self) -> float:
        """Harmfulness from which on a response counts as harmful, unless a policy says otherwise."""
        return self._facts.threshold

    @property
    def categories(self) -> frozenset[str]:
        """The categories that it gives a score for."""
        return self._facts.categories

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange on a thread.

        Where the model breaks on all of them, a text of ours tells whether that is their fault.

        Raises:
            ModelUnavailableError: no result in time, the device failed, or the model breaks on whatever it is given.
        """
        outcomes = await self._detector.assess(exchanges)
        if exchanges and is_total_failure(outcomes):
            _require_runs(self.revision, await self._detector.assess(_OWN_EXCHANGES[:1]))
        return outcomes

    def warm_up(self) -> None:
        """Run the model on texts of several lengths, on this thread.

        Raises:
            ModelUnavailableError: it failed on one, or is a guard that said nothing readable of any.
        """
        outcomes = self._model.assess(_OWN_EXCHANGES)
        _require_runs(self.revision, outcomes)
        if not any(isinstance(outcome, Assessment) for outcome in outcomes):
            raise ModelUnavailableError(
                f"{self.revision}: {len(outcomes)} texts of ours, and no verdict in any answer; expected the model "
                "that its description is for"
            )

    async def check_health(self, *, timeout_s: float) -> None:
        """Run the model on a short text, unless calls tell that it is well. A wedged thread is no better than broken.

        Raises:
            ModelUnavailableError: it failed, was not done in time though nothing else was computed, or does not end.
        """
        outcomes = await self._detector.try_out(_OWN_EXCHANGES[:1], timeout_s=timeout_s)
        _require_runs(self.revision, outcomes)

    async def close(self) -> None:
        """Give the threads up without waiting for what they compute."""
        self._detector.close()


def _require_runs(revision: str, outcomes: Sequence[Assessment | ItemFailure]) -> None:
    """Raise unless the model ran on every text.

    What a guard wrote may be nonsense all the same. Each such text is a failure of its own, and no new process would
    say anything else.
    """
    for outcome in outcomes:
        if isinstance(outcome, ItemFailure) and outcome.error != UNREADABLE_VERDICT:
            raise ModelUnavailableError(f"{revision}: a text of ours, expected a score, got {outcome.error}")
