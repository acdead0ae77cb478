"""Texts that are both in the training mix and in the sets to be measured on: what training has to leave out.

Evaluation looks for them, so that training reads nothing of the sets it is measured on; it gets hashes.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from protector_models.records.examples import WRITTEN_ROWS, take_last_turn
from protector_models.records.excluded_texts import hash_text
from protector_models.records.labelled_records import LabelledRecord, RecordError, find_record_files, read_records
from protector_models.records.mix import DETOXIFICATION_SETS, SOURCES, TRAINABLE_PROMPT_MARK, RowKind
from protector_models.records.record_sets import find_sets

_HASHED = re.compile(r"[a-z0-9]", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """One text, as its hash, in one training set."""

    text_hash: str
    """As `hash_text` gives it: case, white space and punctuation make no other text."""
    training_set: str
    evaluation_sets: tuple[str, ...]
    """Every set that has it, sorted."""
    num_rows: int
    """Training records that have it as prompt, answer, text or pair."""


def find_overlaps(training: Path, evaluation: Sequence[Path]) -> list[Overlap]:
    """Compares every text of the mix with every text of the evaluation sets.

    Texts without Latin letters and digits are passed over: they have no hash of their own.

    Args:
        training: holds one directory per training set, named as in `SOURCES`; sets that are not there are passed over,
            and rows that come with the project are compared as well.
        evaluation: record files or directories.

    Returns:
        Overlaps in the order of training set and hash.

    Raises:
        RecordError: no record file at a path, or a line that is no record; names file and line.
    """
    sets_by_hash: dict[str, set[str]] = defaultdict(set)
    for found in find_sets(evaluation):
        for file in found.files:
            for record in read_records(file):
                for text_hash in _hash_texts(record):
                    sets_by_hash[text_hash].add(found.name)
    rows: dict[tuple[str, str], int] = defaultdict(int)
    for name, record in _read_mix(training):
        for text_hash in _hash_texts(record) & sets_by_hash.keys():
            rows[name, text_hash] += 1
    return [
        Overlap(
            text_hash=text_hash,
            training_set=name,
            evaluation_sets=tuple(sorted(sets_by_hash[text_hash])),
            num_rows=num_rows,
        )
        for (name, text_hash), num_rows in sorted(rows.items())
    ]


def _read_mix(training: Path) -> Iterator[tuple[str, LabelledRecord]]:
    """Yields every record that the mix may use, whichever of them a draw would take, under its set's name."""
    files = _name_files(training, below=training)
    if not files.keys() & SOURCES.keys():
        raise RecordError(f"{training}: holds no set of the training mix")
    files |= _name_files(WRITTEN_ROWS, below=WRITTEN_ROWS.parent)
    for name in {*SOURCES, *DETOXIFICATION_SETS} & files.keys():
        for record in read_records(files[name]):
            is_prompt = name in SOURCES and SOURCES[name].kind is RowKind.PROMPT
            if not is_prompt or record.category.startswith(TRAINABLE_PROMPT_MARK):
                yield name.partition("/")[0], record


def _name_files(directory: Path, *, below: Path) -> dict[str, Path]:
    """Returns the record files of a directory under the names that the mix gives them."""
    return {str(file.relative_to(below)).split(".jsonl")[0]: file for file in find_record_files(directory)}


def _hash_texts(record: LabelledRecord) -> set[str]:
    texts = (record.prompt, take_last_turn(record.prompt), record.response, record.text, record.pair)
    return {hash_text(text) for text in texts if _HASHED.search(text)}
