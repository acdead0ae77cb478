"""The harm detector that the settings name, loaded and ready: one form for those that run here and those behind HTTP.

Importing this module is fast; what a kind needs is imported where it is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from protector_models.checkpoints import CheckpointCard
from protector_models.detectors.cascade import Alignment, Band, CascadeDetector, common_categories
from protector_models.detectors.checkpoint_description import load_description
from protector_models.guards.generative_head import GenerativeHead
from protector_models.guards.verdicts import UNREADABLE_VERDICT
from protector_models.in_process import InProcessHarmDetector, SynchronousHarmDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.ports import HarmDetector
from protector_models.moderation.verdict import Assessment, ItemFailure
from protector_models.settings import CascadeSettings, DetectorSettings

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
        """Run what runs in this process, on the threads that calls run on.

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
            timeout_s: how long a call may take, waiting for a free thread included.
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

        Raises:
            ModelUnavailableError: no result in time, or the device failed.
        """
        return await self._detector.assess(exchanges)

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
        """Run the model on a short text: a wedged thread is as bad as a broken model.

        Raises:
            ModelUnavailableError: it failed, or was not done in time.
        """
        outcomes = await self._detector.assess(_OWN_EXCHANGES[:1], timeout_s=timeout_s)
        _require_runs(self.revision, outcomes)

    async def close(self) -> None:
        """Give the threads up without waiting for what they compute."""
        self._detector.close()


def describe_detector(settings: DetectorSettings) -> DetectorFacts:
    """Return threshold and categories of the detector that the settings name; no weights are loaded.

    Raises:
        ConfigurationError: a card or a description cannot be used, or a cascade's band does not fit its detectors.
    """
    match settings.kind:
        case "onnx" | "bag_of_words":
            from protector_models.detectors.harm_detector import SHIPPED_WEIGHTS  # noqa: PLC0415  # its engine takes a second

            card = CheckpointCard.load(settings.checkpoint or SHIPPED_WEIGHTS)
            threshold = card.threshold if settings.kind == "onnx" else card.bag_of_words_threshold
            return DetectorFacts(threshold=threshold, categories=frozenset(card.categories))
        case "transformers" | "openai":
            description = load_description(settings.description or "")
            return DetectorFacts(threshold=description.threshold, categories=description.categories)
        case "cascade":
            cascade = _require_cascade(settings)
            first, second = describe_detector(cascade.first), describe_detector(cascade.second)
            band = Band(low=cascade.band[0], high=cascade.band[1])
            Alignment.of(first_threshold=first.threshold, second_threshold=second.threshold, band=band)
            # Scores are the second one's, or put on its scale.
            categories = common_categories(first.categories, second.categories, cascade.band)
            return DetectorFacts(threshold=second.threshold, categories=categories)


def load_detector(
    settings: DetectorSettings, *, num_threads: int, timeout_s: float, concurrency: int = 1
) -> LoadedDetector:
    """Return the detector that the settings name; loading a model may take minutes.

    Args:
        settings: which one.
        num_threads: that one call computes on, where the settings do not say.
        timeout_s: how long a call to a model in this process may take, waiting for a free thread included.
        concurrency: how many calls compute at the same time in this process; further ones wait.

    Raises:
        ConfigurationError: what the settings name cannot be loaded.
    """
    match settings.kind:
        case "openai":
            from protector_models.guards.endpoint import EndpointGuard  # noqa: PLC0415

            return EndpointGuard.from_settings(settings)
        case "cascade":
            cascade = _require_cascade(settings)
            first, second = (
                load_detector(one, num_threads=num_threads, timeout_s=timeout_s, concurrency=concurrency)
                for one in (cascade.first, cascade.second)
            )
            return CascadeDetector(first, second, band=Band(low=cascade.band[0], high=cascade.band[1]))
        case "onnx" | "bag_of_words" | "transformers":
            model = _load_model(settings, num_threads=settings.num_threads or num_threads)
            return ThreadedDetector(model, describe_detector(settings), timeout_s=timeout_s, concurrency=concurrency)


def _load_model(settings: DetectorSettings, *, num_threads: int) -> SynchronousHarmDetector:
    """Load a model of one of the kinds that run in this process."""
    match settings.kind:
        case "onnx":
            from protector_models.detectors.harm_detector import SHIPPED_WEIGHTS, OnnxHarmDetector  # noqa: PLC0415

            return OnnxHarmDetector.load(
                settings.checkpoint or SHIPPED_WEIGHTS,
                num_threads=num_threads,
                max_windows=settings.max_windows,
                engine=settings.engine,
                device=settings.device,
            )
        case "bag_of_words":
            from protector_models.detectors.bag_of_words_detector import load_bag_of_words_detector  # noqa: PLC0415
            from protector_models.detectors.harm_detector import SHIPPED_WEIGHTS  # noqa: PLC0415

            return load_bag_of_words_detector(settings.checkpoint or SHIPPED_WEIGHTS, max_windows=settings.max_windows)
        case _:
            return _load_from_description(settings, num_threads=num_threads)


def _load_from_description(settings: DetectorSettings, *, num_threads: int) -> SynchronousHarmDetector:
    """Load a model of transformers: the description says of which sort."""
    description = load_description(settings.description or "")
    # torch and transformers take ten seconds.
    if isinstance(description.head, GenerativeHead):
        from protector_models.guards.detector import GuardDetector  # noqa: PLC0415

        return GuardDetector.load(settings, num_threads=num_threads)
    from protector_models.detectors.classifier_detector import ClassifierDetector  # noqa: PLC0415

    return ClassifierDetector.load(settings, description, num_threads=num_threads)


def _require_cascade(settings: DetectorSettings) -> CascadeSettings:
    assert settings.cascade is not None, "the settings see to it"
    return settings.cascade


def _require_runs(revision: str, outcomes: Sequence[Assessment | ItemFailure]) -> None:
    """Raise unless the model ran on every text.

    What a guard wrote may be nonsense all the same. Each such text is a failure of its own, and no new process would
    say anything else.
    """
    for outcome in outcomes:
        if isinstance(outcome, ItemFailure) and outcome.error != UNREADABLE_VERDICT:
            raise ModelUnavailableError(f"{revision}: a text of ours, expected a score, got {outcome.error}")
