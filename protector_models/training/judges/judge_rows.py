"""Rows for the judges of toxicity and harm: labelled texts of the training data, cut into two by their hash."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from protector_models.judges.character_judge import WINDOW_CHARACTERS
from protector_models.records.examples import is_held_out, read_training_set
from protector_models.records.excluded_texts import is_excluded_text
from protector_models.records.labelled_records import LabelledRecord
from protector_models.records.mix import BENIGN_SETS

HELD_OUT_PERCENT = 8
"""The detector holds out as many, by the same hash: no judge learns from what another model was chosen on."""

TOXICITY_SETS = ("davidson/train", "sbic/dev_test", "decodingtrust_toxic/train")
"""Never the detoxification pairs: the edit model learns from them."""
HARM_SETS = (
    "jbb_family/train",
    "gptfuzz/train",
    "cipherchat/train",
    "safe_unlearning/train",
    "shadow_alignment/train",
    "med_safety/train",
    *BENIGN_SETS,
)
"""Answers. The detector learns from them too; there are no others. Only the architecture is another."""
_MAX_SAFE_OF_A_SET = 2_500


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedText:
    """A text and whether it is what the judge looks for."""

    text: str
    label: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTexts:
    """Texts cut by hash: of the text for toxicity, of the prompt for harm."""

    training: list[JudgedText]
    held_out: list[JudgedText]


def read_toxicity_texts(directory: Path) -> JudgedTexts:
    """Reads posts that people called toxic, or not.

    Raises:
        RecordError: evaluation data, a missing set, or a line that is no record.
    """
    found = JudgedTexts(training=[], held_out=[])
    for name in TOXICITY_SETS:
        for record in _usable(read_training_set(directory, name)):
            side = found.held_out if is_held_out(record.text, percent=HELD_OUT_PERCENT) else found.training
            side.append(JudgedText(text=record.text, label=record.label == 1))
    return found


def read_harm_texts(directory: Path, *, seed: int) -> JudgedTexts:
    """Reads answers: of training rows one window each, as the judge reads them; held-out ones whole.

    Args:
        directory: the training data.
        seed: of the windows.

    Raises:
        RecordError: evaluation data, a missing set, or a line that is no record.
    """
    rng = random.Random(seed)
    found = JudgedTexts(training=[], held_out=[])
    for name in HARM_SETS:
        num_safe = 0
        for record in _usable(read_training_set(directory, name)):
            if is_held_out(record.prompt or record.response, percent=HELD_OUT_PERCENT):
                found.held_out.append(JudgedText(text=record.response, label=record.label == 1))
            elif record.label == 1 or num_safe < _MAX_SAFE_OF_A_SET:
                num_safe += record.label == 0
                found.training.append(JudgedText(text=_draw_window(record.response, rng), label=record.label == 1))
    return found


def _usable(records: list[LabelledRecord]) -> Iterator[LabelledRecord]:
    """Yields the labelled records with words that no public benchmark has."""
    for record in records:
        body = record.response or record.text
        if record.label is not None and body.strip() and not is_excluded_text(body):
            yield record


def _draw_window(text: str, rng: random.Random) -> str:
    start = rng.randint(0, max(0, len(text) - WINDOW_CHARACTERS))
    return text[start : start + WINDOW_CHARACTERS]
