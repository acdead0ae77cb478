from pathlib import Path

import pytest
import torch

from protector_models.checkpoints import CheckpointCard
from protector_models.detectors.harm_detector import OnnxHarmDetector
from protector_models.detectors.prompts import PairLayout
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.verdict import Assessment
from protector_models.training.bag_of_words_recipe import BagOfWordsRecipe, train_bag_of_words
from protector_models.training.batches import encode_examples
from protector_models.training.category_map import TRAINED_CATEGORIES
from protector_models.training.detector_network import DetectorNetwork
from protector_models.training.detector_recipe import DetectorRecipe, load_training_tokenizer
from protector_models.training.examples import Example
from protector_models.training.held_out import FALSE_POSITIVE_BUDGETS, select_alone, select_answers
from protector_models.training.packaging import count_scored_rows, package_detector
from protector_models.training.sources import RowKind
from tests.protector_models.training.builders import make_example

LABELS = tuple(1.0 if name == "illicit" else 0.0 for name in TRAINED_CATEGORIES)
OTHER_LABELS = tuple(0.0 if name == "illicit" else 1.0 for name in TRAINED_CATEGORIES)
VALIDATION = [
    *(make_example(response=f"steal {index}", categories=LABELS) for index in range(40)),
    *(make_example(response=f"bake {index}", harmful=0.0, is_benign_set=True) for index in range(30)),
    make_example(kind=RowKind.TEXT, prompt=""),
    make_example(kind=RowKind.PREFERENCE),
    make_example(kind=RowKind.PROMPT, prompt=""),
]
TRAINING = [*VALIDATION, make_example(response="burn it", categories=OTHER_LABELS)]


def _package(encoder: Path, directory: Path, validation: list[Example]) -> CheckpointCard:
    torch.manual_seed(1)
    tokenizer = load_training_tokenizer(encoder)
    bag_of_words = train_bag_of_words(
        encode_examples(TRAINING, tokenizer),
        PairLayout.for_vocabulary(tokenizer),
        BagOfWordsRecipe(),
        report_outputs=lambda _: None,
    )
    reported: list[int] = []
    card = package_detector(
        DetectorNetwork.from_pretrained(encoder).eval(),
        bag_of_words,
        validation,
        tokenizer=tokenizer,
        encoder_directory=encoder,
        directory=directory,
        recipe=DetectorRecipe(seed=5),
        num_threads=1,
        report_rows=reported.append,
    )
    assert sum(reported) == count_scored_rows(validation)
    return card


def test_the_directory_serves_with_the_threshold_that_was_chosen(tiny_encoder: Path, tmp_path: Path) -> None:
    card = _package(tiny_encoder, tmp_path, VALIDATION)
    assert CheckpointCard.load(tmp_path) == card
    assert (card.validation["n"], card.validation["harmful"], card.recipe["seed"]) == (70, 40, 5)
    assert len(card.mixes) == 2 + len(TRAINED_CATEGORIES)
    # Enough rows of both labels for answers; the categories are all one label, and keep the encoder's logit.
    assert card.mixes[0].bag_of_words > 0.0
    assert {mix.bag_of_words for mix in card.mixes[2:]} == {0.0}
    assert card.budget_thresholds.keys() == {"any", *TRAINED_CATEGORIES}
    assert all(len(thresholds) == len(FALSE_POSITIVE_BUDGETS) for thresholds in card.budget_thresholds.values())
    detector = OnnxHarmDetector.load(tmp_path, num_threads=1)
    assert detector.threshold == card.threshold
    assert isinstance(detector.assess([Exchange(prompt="", response="steal")])[0], Assessment)


def test_answers_are_held_out_with_their_prompts_and_everything_without() -> None:
    answers, alone = select_answers(VALIDATION), select_alone(VALIDATION)
    assert {row.kind for row in answers} == {RowKind.ANSWER}
    assert {row.kind for row in alone} == {RowKind.ANSWER, RowKind.TEXT, RowKind.PROMPT}
    assert (len(answers), len(alone)) == (70, 72)
    assert {row.prompt for row in alone} == {""}


def test_a_slice_without_ordinary_answers_is_an_error(tiny_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ordinary sets"):
        _package(tiny_encoder, tmp_path, [row for row in VALIDATION if not row.is_benign_set])
