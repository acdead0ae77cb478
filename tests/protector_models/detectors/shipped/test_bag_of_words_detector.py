"""The shipped bag of words as a detector of its own."""

import shutil
from pathlib import Path

import pytest

from protector_models.checkpoints.cards import CheckpointCard, CheckpointError
from protector_models.detectors.shipped.bag_of_words import BAG_OF_WORDS_FILE
from protector_models.detectors.shipped.bag_of_words_detector import load_bag_of_words_detector
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.weights_in_use import MODEL_FILE, SHIPPED_WEIGHTS
from protector_models.moderation.model_outputs import Assessment
from tests.builders import exchange

pytestmark = pytest.mark.shipped

CARD = CheckpointCard.load(SHIPPED_WEIGHTS)
EXCHANGES = [
    exchange("You are a stupid, worthless idiot and everyone hates you.", prompt="what do you think of me"),
    exchange("Water the tomatoes in the morning, twice a week.", prompt="how do I grow tomatoes"),
    exchange(""),
    exchange("word " * 2_000, prompt="long"),
]


@pytest.fixture(scope="module")
def detector() -> OnnxHarmDetector:
    return load_bag_of_words_detector(SHIPPED_WEIGHTS)


def assess(detector: OnnxHarmDetector) -> list[Assessment]:
    return [outcome for outcome in detector.assess(EXCHANGES) if isinstance(outcome, Assessment)]


def test_it_judges_by_words_with_a_threshold_and_a_name_of_its_own(detector: OnnxHarmDetector) -> None:
    harmful, harmless, *_ = assess(detector)

    assert detector.threshold == CARD.bag_of_words_threshold
    assert harmful.harmfulness > detector.threshold > harmless.harmfulness
    assert harmful.categories.keys() == {*CARD.categories, "sexual_minors"}
    assert detector.revision.partition("@")[0] == "weir-minilm-words"


def test_it_reads_as_the_detector_does(detector: OnnxHarmDetector) -> None:
    whole = OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=1)

    assert [found.coverage for found in assess(detector)] == [found.coverage for found in assess(whole)]


def test_it_names_no_pieces_because_it_cannot_tell_those_of_a_window_apart(detector: OnnxHarmDetector) -> None:
    assert [found.pieces for found in assess(detector)] == [None] * len(EXCHANGES)


def test_a_batch_gives_what_its_exchanges_give_alone(detector: OnnxHarmDetector) -> None:
    alone = [outcome for one in EXCHANGES for outcome in detector.assess([one])]
    assert detector.assess(EXCHANGES) == alone


def test_the_revision_is_of_the_words_and_not_of_the_encoder(detector: OnnxHarmDetector, tmp_path: Path) -> None:
    directory = tmp_path / "weights"
    shutil.copytree(SHIPPED_WEIGHTS, directory)
    shutil.copyfile(directory / BAG_OF_WORDS_FILE, directory / MODEL_FILE)
    CARD.model_copy(update={"files": CARD.files | {MODEL_FILE: CARD.files[BAG_OF_WORDS_FILE]}}).save(directory)
    assert load_bag_of_words_detector(directory).revision == detector.revision

    (directory / BAG_OF_WORDS_FILE).write_bytes(b"")
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_bag_of_words_detector(directory)
