"""The detector that the settings name: facts, loading, warm-up and health."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from protector_models.detectors.choice import describe_detector, load_detector
from protector_models.detectors.loaded_detector import DetectorFacts, ThreadedDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.settings import CascadeSettings, DetectorSettings
from tests.builders import assessment

FACTS = DetectorFacts(threshold=0.5, categories=frozenset())


class NoNumbers:
    """A model that gives no scores."""

    revision = "broken@1"

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        return [ItemFailure(error="NotFiniteScore", message="no number") for _ in exchanges]


@pytest.mark.shipped
@pytest.mark.parametrize(
    ("options", "name"),
    [({}, "weir-pair"), ({"weights": "fast"}, "weir-minilm"), ({"weights": "accurate"}, "weir-mpnet")],
)
async def test_the_shipped_pair_is_the_default_and_each_says_what_its_card_says(
    options: dict[str, Any], name: str
) -> None:
    settings = DetectorSettings(**options)
    detector = load_detector(settings, num_threads=1, timeout_s=60)
    facts = describe_detector(settings)
    try:
        detector.warm_up()
        await detector.check_health(timeout_s=60)
        assert (detector.threshold, detector.categories) == (facts.threshold, facts.categories)
        (found,) = await detector.assess([Exchange(prompt="How?", response="Ask your bank.")])
        assert isinstance(found, Assessment)
        assert found.detector == detector.revision
        assert detector.revision.startswith(f"{name}@")
        assert set(found.categories) == detector.categories
    finally:
        await detector.close()


async def test_a_model_without_scores_is_neither_warm_nor_healthy() -> None:
    detector = ThreadedDetector(NoNumbers(), FACTS, timeout_s=10, concurrency=1)
    try:
        with pytest.raises(ModelUnavailableError, match="broken@1: a text of ours, expected a score"):
            detector.warm_up()
        with pytest.raises(ModelUnavailableError, match="NotFiniteScore"):
            await detector.check_health(timeout_s=10)
    finally:
        await detector.close()


class Mumbling:
    """A guard that answers responses over a length with nonsense."""

    revision = "mumbling@1"

    def __init__(self, max_characters: int) -> None:
        self._max_characters = max_characters

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        unreadable = ItemFailure(error="UnreadableVerdict", message="no verdict")
        return [assessment() if len(each.response) <= self._max_characters else unreadable for each in exchanges]


async def test_nonsense_on_some_texts_is_no_sign_of_illness() -> None:
    detector = ThreadedDetector(Mumbling(100), FACTS, timeout_s=10, concurrency=1)
    try:
        detector.warm_up()
    finally:
        await detector.close()


async def test_a_guard_that_says_nothing_readable_is_not_taken_and_no_new_process_is_asked_for() -> None:
    detector = ThreadedDetector(Mumbling(0), FACTS, timeout_s=10, concurrency=1)
    try:
        with pytest.raises(ModelUnavailableError, match="4 texts of ours, and no verdict in any answer"):
            detector.warm_up()
        await detector.check_health(timeout_s=10)
    finally:
        await detector.close()


def test_a_band_that_does_not_fit_its_detectors_is_refused_without_weights() -> None:
    second = DetectorSettings(kind="transformers", model="nowhere", description="mllm-protector-3b")
    cascade = CascadeSettings(first=DetectorSettings(kind="bag_of_words"), second=second, band=(0.98, 0.99))
    with pytest.raises(ConfigurationError, match="expected it to hold the first detector's threshold"):
        describe_detector(DetectorSettings(kind="cascade", cascade=cascade))


def test_what_a_description_says_needs_no_weights() -> None:
    settings = DetectorSettings(kind="transformers", model="nowhere", description="mllm-protector-3b")
    assert describe_detector(settings) == FACTS


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "x"}, "kind 'onnx': expected no model"),
        ({"logprobs": False}, "kind 'onnx': expected no logprobs"),
        ({"kind": "bag_of_words", "engine": "torch"}, "kind 'bag_of_words': expected no engine"),
        ({"kind": "transformers", "model": "x"}, "expected description to be set"),
        ({"kind": "openai", "model": "x", "description": "y"}, "expected base_url to be set"),
        ({"kind": "openai", "model": "x", "description": "y", "base_url": "http://a:b@c"}, "without user"),
        ({"kind": "cascade"}, "expected cascade to be set"),
        ({"kind": "cascade", "cascade": {"first": {}, "second": {}, "band": [0.9, 0.1]}}, "the lower end first"),
        ({"device": "cuda"}, "a GPU takes engine 'torch'"),
    ],
)
def test_keys_that_do_not_fit_the_kind_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DetectorSettings.model_validate(fields)


def test_settings_that_were_written_out_whole_can_be_read_again() -> None:
    first = {"kind": "bag_of_words"}
    second = {"kind": "transformers", "model": "x", "description": "binary-classifier"}
    written = {"kind": "cascade", "cascade": {"first": first, "second": second, "band": [0.1, 0.9]}}
    settings = DetectorSettings.model_validate(written)
    assert DetectorSettings.model_validate_json(settings.model_dump_json()) == settings
