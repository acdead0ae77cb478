"""The harm detector that the settings name, loaded and ready: one form for those that run here and those behind HTTP.

Importing this module is fast; what a kind needs is imported where it is loaded.
"""

from pathlib import Path

from protector_models.checkpoints.cards import CheckpointCard
from protector_models.descriptions.checkpoint_description import load_description
from protector_models.descriptions.generative_head import GenerativeHead
from protector_models.detectors.cascade import Alignment, Band, CascadeDetector, common_categories
from protector_models.detectors.loaded_detector import DetectorFacts, LoadedDetector, ThreadedDetector
from protector_models.detectors.shipped.minors_rule import MINORS_THRESHOLD, SEXUAL_MINORS, list_categories
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, find_weights_in_use
from protector_models.running.model_threads import SynchronousHarmDetector
from protector_models.settings import CascadeSettings, DetectorSettings

_SELF_HARM_BUDGET = "0.005"
"""Share of safe held-out answers that may be flagged for it."""


def describe_detector(settings: DetectorSettings) -> DetectorFacts:
    """Return threshold and categories of the detector that the settings name; no weights are loaded.

    Raises:
        ConfigurationError: a card or a description cannot be used, or a cascade's band does not fit its detectors.
    """
    match settings.kind:
        case "onnx":
            card = find_weights_in_use(find_weights(settings), settings.weights).card
            return DetectorFacts(
                threshold=card.threshold,
                categories=list_categories(card.categories),
                category_thresholds=_find_category_thresholds(card),
            )
        case "bag_of_words":
            directory = find_weights(settings)
            card = CheckpointCard.load(directory)
            threshold = card.require_words_threshold(directory)
            return DetectorFacts(threshold=threshold, categories=list_categories(card.categories))
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


def _find_category_thresholds(card: CheckpointCard) -> dict[str, float]:
    """Return the thresholds of what a missed answer costs most in: low, for a needless help line costs little."""
    self_harm = card.budget_thresholds.get("self_harm", {}).get(_SELF_HARM_BUDGET)
    return {SEXUAL_MINORS: MINORS_THRESHOLD} | ({} if self_harm is None else {"self_harm": self_harm})


def find_weights(settings: DetectorSettings) -> Path:
    """Return the weights directory of a detector of kind `onnx` or `bag_of_words`."""
    return settings.checkpoint or SHIPPED_WEIGHTS


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
            from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector  # noqa: PLC0415

            return OnnxHarmDetector.load(
                find_weights(settings),
                num_threads=num_threads,
                weights=settings.weights,
                max_windows=settings.max_windows,
                engine=settings.engine,
                device=settings.device,
            )
        case "bag_of_words":
            from protector_models.detectors.shipped.bag_of_words_detector import load_bag_of_words_detector  # noqa: PLC0415

            return load_bag_of_words_detector(find_weights(settings), max_windows=settings.max_windows)
        case _:
            return _load_from_description(settings, num_threads=num_threads)


def _load_from_description(settings: DetectorSettings, *, num_threads: int) -> SynchronousHarmDetector:
    """Load a model of transformers: the description says of which sort."""
    description = load_description(settings.description or "")
    # torch and transformers take ten seconds.
    if isinstance(description.head, GenerativeHead):
        from protector_models.guards.detector import GuardDetector  # noqa: PLC0415

        return GuardDetector.load(settings, num_threads=num_threads)
    from protector_models.detectors.classifiers.classifier_detector import ClassifierDetector  # noqa: PLC0415

    return ClassifierDetector.load(settings, description, num_threads=num_threads)


def _require_cascade(settings: DetectorSettings) -> CascadeSettings:
    assert settings.cascade is not None, "the settings see to it"
    return settings.cascade
