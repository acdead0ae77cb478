from pathlib import Path

import pytest
import torch

from protector_models.checkpoints.cards import CheckpointCard
from protector_models.detectors.shipped.detector_heads import HEADS_FILE
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.window_layout import PairLayout
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment
from protector_models.records.category_map import TRAINED_CATEGORIES
from protector_models.records.examples import Example
from protector_models.records.mix import RowKind
from protector_models.training.detector import held_out
from protector_models.training.detector.answer_draws import AnswerDraws, DrawPlan, cut_examples
from protector_models.training.detector.bag_of_words_recipe import BagOfWordsRecipe, train_bag_of_words
from protector_models.training.detector.batches import WindowMaker
from protector_models.training.detector.calibration import UNCALIBRATED
from protector_models.training.detector.detector_network import DetectorNetwork
from protector_models.training.detector.detector_recipe import DetectorRecipe, load_training_tokenizer
from protector_models.training.detector.held_out import (
    FALSE_POSITIVE_BUDGETS,
    HeldOutScores,
    compose_answers,
    count_scored_rows,
    find_logits,
    select_alone,
    select_answers,
    to_exchange,
)
from protector_models.training.detector.packaging import package_detector
from tests.protector_models.training.builders import make_example

pytestmark = pytest.mark.training

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


NUM_COMPOSED = 40


@pytest.fixture(autouse=True)
def _compose_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "_NUM_COMPOSED", NUM_COMPOSED)


def _package(encoder: Path, directory: Path, validation: list[Example]) -> CheckpointCard:
    torch.manual_seed(1)
    tokenizer = load_training_tokenizer(encoder)
    rows = cut_examples(TRAINING, tokenizer.token_to_id)
    bag_of_words = train_bag_of_words(
        rows,
        AnswerDraws(rows, DrawPlan()),
        WindowMaker(tokenizer, PairLayout.for_vocabulary(tokenizer)),
        BagOfWordsRecipe(),
        report_outputs=lambda _: None,
    )
    reported: list[int] = []
    card = package_detector(
        DetectorNetwork.from_pretrained(encoder).eval(),
        bag_of_words,
        validation,
        tokenizer=tokenizer,
        tokenizer_directory=encoder,
        directory=directory,
        recipe=DetectorRecipe(seed=5),
        num_threads=1,
        report_rows=reported.append,
        origin={},
    )
    assert sum(reported) == count_scored_rows(validation, tokenizer)
    return card


def test_the_directory_serves_with_the_threshold_that_was_chosen(tiny_encoder: Path, tmp_path: Path) -> None:
    card = _package(tiny_encoder, tmp_path, VALIDATION)
    assert CheckpointCard.load(tmp_path) == card
    assert (card.validation["n"], card.recipe["seed"]) == (70 + NUM_COMPOSED, 5)
    assert card.files.keys() == {"model.onnx", HEADS_FILE, "bag_of_words.safetensors", "tokenizer.json"}
    assert len(card.calibrations) == 2 + len(TRAINED_CATEGORIES)
    # The categories are all one label, and keep their logits.
    assert set(card.calibrations[2:]) == {UNCALIBRATED}
    assert card.budget_thresholds.keys() == {"any", *TRAINED_CATEGORIES}
    assert all(len(thresholds) == len(FALSE_POSITIVE_BUDGETS) for thresholds in card.budget_thresholds.values())
    detector = OnnxHarmDetector.load(tmp_path, num_threads=1)
    assert detector.threshold == card.threshold
    assert isinstance(detector.assess([Exchange(prompt="", response="steal")])[0], Assessment)
    rows = [*select_answers(VALIDATION), *select_alone(VALIDATION)]
    logits = find_logits(detector, rows, report_rows=lambda _: None)
    judged = HeldOutScores.of(rows, logits, card.calibrations)
    served = [one for one in detector.assess([to_exchange(row) for row in rows]) if isinstance(one, Assessment)]
    assert judged.harmfulness == [one.harmfulness for one in served]
    assert judged.categories == [[one.categories[name] for name in card.categories] for one in served]


def test_answers_are_held_out_with_their_prompts_and_everything_without() -> None:
    answers, alone = select_answers(VALIDATION), select_alone(VALIDATION)
    assert {row.kind for row in answers} == {RowKind.ANSWER}
    assert {row.kind for row in alone} == {RowKind.ANSWER, RowKind.TEXT, RowKind.PROMPT}
    assert (len(answers), len(alone)) == (70, 72)
    assert {row.prompt for row in alone} == {""}


def test_answers_in_company_are_made_of_held_out_rows_and_keep_the_label_of_what_is_in_them(
    tiny_encoder: Path,
) -> None:
    lookup = load_training_tokenizer(tiny_encoder).token_to_id
    composed = compose_answers(VALIDATION, lookup)
    assert composed == compose_answers(VALIDATION, lookup)
    assert {(row.group, row.categories, row.kind) for row in composed} == {("composed", None, RowKind.ANSWER)}
    assert {row.harmful for row in composed} == {0.0, 1.0}
    for row in composed:
        assert row.harmful == float("steal" in row.response or "like this" in row.response)
        assert not row.is_benign_set, "the budget is of ordinary answers as they come"


def test_a_slice_without_answers_has_none_in_company(tiny_encoder: Path) -> None:
    assert compose_answers([], load_training_tokenizer(tiny_encoder).token_to_id) == []


def test_a_slice_without_ordinary_answers_is_an_error(tiny_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ordinary sets"):
        _package(tiny_encoder, tmp_path, [row for row in VALIDATION if not row.is_benign_set])
