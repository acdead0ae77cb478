import json
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from protector_models.checkpoints.cards import CheckpointError
from protector_models.detectors.shipped.weights_in_use import TOKENIZER_FILE
from protector_models.training.detector.detector_network import DetectorNetwork
from protector_models.training.detector.detector_recipe import load_training_tokenizer
from protector_models.training.detector.teacher import TEACHER_FILE, TeacherCard, check_vocabulary, load_teacher

pytestmark = pytest.mark.training


@pytest.fixture
def copied(tiny_teacher: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_teacher, tmp_path / "copied")


@pytest.fixture
def tokenizer(tiny_encoder: Path) -> Tokenizer:
    return load_training_tokenizer(tiny_encoder)


def test_a_teacher_is_loaded_as_it_was_saved(tiny_teacher: Path, tiny_encoder: Path, tiny_larger_encoder: Path) -> None:
    teacher = load_teacher(tiny_teacher, tokenizer_file=tiny_encoder / TOKENIZER_FILE)
    before = DetectorNetwork.from_pretrained(tiny_larger_encoder).encoder.state_dict()
    after = teacher.network.encoder.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not teacher.network.training


def test_the_card_names_recipe_rows_and_base(tiny_teacher: Path) -> None:
    card = TeacherCard.load(tiny_teacher)
    assert card.make_revision_of({}).startswith("weir-mpnet-teacher@")
    assert (card.recipe["batch_size"], card.recipe["num_rows"]) == (16, 1)
    assert {"rows_sha256", "encoder_sha256", "seed"} <= set(card.recipe)
    assert (card.validation["n"], card.validation["harmful"]) == (2, 1)


def test_a_directory_without_a_card_is_no_teacher(tmp_path: Path, tiny_encoder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"card\.json: cannot be read"):
        load_teacher(tmp_path, tokenizer_file=tiny_encoder / TOKENIZER_FILE)


def test_weights_that_are_not_the_cards_are_refused(copied: Path, tiny_encoder: Path) -> None:
    (copied / TEACHER_FILE).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=TEACHER_FILE):
        load_teacher(copied, tokenizer_file=tiny_encoder / TOKENIZER_FILE)


@pytest.mark.parametrize(("field", "value"), [("layout", "another"), ("categories", ["one"])])
def test_a_teacher_that_reads_otherwise_is_refused_by_what_differs(
    copied: Path, tiny_encoder: Path, field: str, value: object
) -> None:
    card = json.loads((copied / "card.json").read_text())
    (copied / "card.json").write_text(json.dumps({**card, field: value}))
    with pytest.raises(CheckpointError, match=f"student's {field}"):
        load_teacher(copied, tokenizer_file=tiny_encoder / TOKENIZER_FILE)


def test_a_teacher_with_another_vocabulary_is_refused(tiny_teacher: Path, tmp_path: Path) -> None:
    other = tmp_path / TOKENIZER_FILE
    other.write_text("{}")
    with pytest.raises(CheckpointError, match="student's vocabulary"):
        load_teacher(tiny_teacher, tokenizer_file=other)


def test_encoders_of_both_kinds_know_the_vocabulary(
    tiny_encoder: Path, tiny_larger_encoder: Path, tokenizer: Tokenizer
) -> None:
    check_vocabulary(tiny_encoder, tokenizer)
    check_vocabulary(tiny_larger_encoder, tokenizer)


def test_an_encoder_with_another_number_of_words_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mpnet", "vocab_size": 30522}')
    with pytest.raises(ValueError, match="30522 words of the detector's vocabulary, got 30517"):
        check_vocabulary(tmp_path, tokenizer)
