"""The teacher: a detector of the same form over a larger encoder. It is trained and kept, and never served.

It reads the student's token ids (see `training.encoders`), so both see the very same windows.

Shapes: N rows.
"""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from protector_models.checkpoints.cards import CheckpointError, WeightsCard, hash_file
from protector_models.detectors.shipped.weights_in_use import TOKENIZER_FILE
from protector_models.detectors.shipped.window_aggregation import ANSWER
from protector_models.detectors.shipped.window_layout import PAIR_LAYOUT, PairLayout
from protector_models.evaluation.metrics import auroc
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.records.category_map import TRAINED_CATEGORIES
from protector_models.records.examples import Example
from protector_models.training.detector.answer_draws import AnswerDraws, DrawPlan, PiecedExample, cut_examples
from protector_models.training.detector.batches import WindowMaker, collate
from protector_models.training.detector.detector_network import DetectorNetwork, find_worst
from protector_models.training.detector.detector_recipe import DetectorRecipe
from protector_models.training.detector.held_out import select_answers
from protector_models.training.detector.packaging import ENCODER_WEIGHTS_FILE
from protector_models.training.detector.row_digest import describe_rows
from protector_models.training.encoders import CONFIG_FILE, build_encoder
from protector_models.training.export import copy_tokenizer

TEACHER_NAME = "weir-mpnet-teacher"
TEACHER_FILE = "teacher.safetensors"
TEACHER_RECIPE = DetectorRecipe(num_steps=800, batch_size=16, encoder_lr=5e-5, num_frozen_layers=4)
"""The detector's own recipe for an encoder of ten times its size: smaller batches and steps, the lowest layers kept."""

_BATCH_SIZE = 32
_MAX_MEASURED_ROWS = 2_000
# MPNet has four tokens of its own before BERT's words, and one behind them.
_NUM_EXTRA_WORDS = {"bert": 0, "mpnet": 5}


class TeacherCard(WeightsCard):
    """The card of a teacher."""

    layout: str
    """Name of the prompt layout the model was trained with."""
    categories: tuple[str, ...]
    """Categories of the model's outputs after the first two, in order."""
    validation: dict[str, float | int | None]
    """Of held-out answers, of whose first window the worst piece counts; measured on the weights as they are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A trained teacher, ready to score."""

    network: DetectorNetwork
    """In evaluation mode."""
    revision: str
    """name@revision."""
    weights_sha256: str


def check_vocabulary(encoder_directory: Path, tokenizer: Tokenizer) -> None:
    """Checks that an encoder knows the words of a tokenizer that is not its own.

    Raises:
        ValueError: it has another number of them.
    """
    config = json.loads((encoder_directory / CONFIG_FILE).read_text(encoding="utf-8"))
    num_words = config.get("vocab_size", 0) - _NUM_EXTRA_WORDS.get(config.get("model_type"), 0)
    if num_words != tokenizer.get_vocab_size():
        raise ValueError(
            f"{encoder_directory}: expected an encoder with the {tokenizer.get_vocab_size()} words of the detector's "
            f"vocabulary, got {num_words}"
        )


def save_teacher(
    network: DetectorNetwork,
    rows: Sequence[PiecedExample],
    validation: Sequence[Example],
    *,
    tokenizer: Tokenizer,
    tokenizer_directory: Path,
    encoder_directory: Path,
    directory: Path,
    recipe: DetectorRecipe,
    report_rows: Callable[[int], None],
) -> TeacherCard:
    """Writes a teacher's directory: weights, the encoder's configuration, the vocabulary, and the card.

    Args:
        network: the trained network.
        rows: what it was trained on.
        validation: held-out examples.
        tokenizer: as `load_training_tokenizer` loads it.
        tokenizer_directory: where its file lies.
        encoder_directory: the pretrained encoder.
        directory: made if it does not exist.
        recipe: the choices of the run.
        report_rows: called with the number of held-out rows scored since the last call.
    """
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, directory / TEACHER_FILE)
    shutil.copyfile(encoder_directory / CONFIG_FILE, directory / CONFIG_FILE)
    copy_tokenizer(tokenizer_directory, directory)
    card = TeacherCard(
        name=TEACHER_NAME,
        files={name: hash_file(directory / name) for name in (TEACHER_FILE, CONFIG_FILE, TOKENIZER_FILE)},
        layout=PAIR_LAYOUT,
        categories=TRAINED_CATEGORIES,
        recipe=asdict(recipe)
        | asdict(DrawPlan())
        | describe_rows(rows)
        | {"encoder_sha256": hash_file(encoder_directory / ENCODER_WEIGHTS_FILE)},
        validation=_measure(network, select_measured(validation), tokenizer, report_rows=report_rows),
    )
    card.save(directory)
    return card


def load_teacher(directory: Path, *, tokenizer_file: Path) -> Teacher:
    """Loads a teacher for a student.

    Args:
        directory: as `save_teacher` wrote it.
        tokenizer_file: the student's vocabulary.

    Raises:
        CheckpointError: the card or a file is missing or damaged, or it reads otherwise than the student.
    """
    card = TeacherCard.load(directory)
    expected = {
        "layout": PAIR_LAYOUT,
        "categories": TRAINED_CATEGORIES,
        "vocabulary": hash_file(tokenizer_file),
    }
    found = {"layout": card.layout, "categories": card.categories, "vocabulary": card.files.get(TOKENIZER_FILE)}
    if changed := [name for name, value in expected.items() if found[name] != value]:
        raise CheckpointError(f"{directory}: expected a teacher with the student's {changed[0]}, it has another")
    network = DetectorNetwork(build_encoder(directory))
    try:
        network.load_state_dict(load_file(directory / TEACHER_FILE))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{directory / TEACHER_FILE}: not the weights of its {CONFIG_FILE}") from error
    return Teacher(network=network.eval(), revision=card.make_revision_of({}), weights_sha256=card.files[TEACHER_FILE])


def select_measured(validation: Sequence[Example]) -> list[Example]:
    """Returns the held-out answers that a teacher is measured on."""
    return select_answers(validation)[:_MAX_MEASURED_ROWS]


def _measure(
    network: DetectorNetwork, answers: Sequence[Example], tokenizer: Tokenizer, *, report_rows: Callable[[int], None]
) -> dict[str, float | int | None]:
    rows = cut_examples(answers, tokenizer.token_to_id)
    draws, maker = AnswerDraws(rows, DrawPlan()), WindowMaker(tokenizer, PairLayout.for_vocabulary(tokenizer))
    rng = random.Random(0)
    scores: list[float] = []
    for group in split_by_count(rows, _BATCH_SIZE):
        batch = collate([maker.make(draws.draw_whole(row), rng) for row in group])
        with torch.inference_mode():
            pieces_SK = network(batch).pieces_SK
        scores += find_worst(pieces_SK[:, ANSWER], batch.windows_S, len(group)).tolist()
        report_rows(len(group))
    labels_N = np.array([row.example.harmful == 1.0 for row in rows])
    found = auroc(labels_N, np.array(scores, dtype=np.float64))
    return {
        "n": len(rows),
        "harmful": int(labels_N.sum()),
        "auroc": None if found is None else round(found, 4),
    }
