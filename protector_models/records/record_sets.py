"""Labelled records as sets: which files belong together, which rows are drawn, what is judged of a row."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from protector_models.moderation.conversation import Exchange
from protector_models.records.labelled_records import LabelledRecord, RecordError, find_record_files, read_records

_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """Labelled records under one name."""

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRows:
    """The rows of one set that are scored."""

    name: str
    labelled: list[LabelledRecord]
    """Every one has a label."""
    num_labelled: int
    """In the set, before a sample was drawn."""
    num_unlabelled: int


def find_sets(paths: Sequence[Path]) -> list[EvaluationSet]:
    """Groups record files into sets: a file given by itself is a set, and so is every directory that holds files.

    Sets are named after their file or directory. Where two would have one name, the directories above tell them apart.

    Raises:
        RecordError: a path does not exist or holds no record file, or no directory tells two sets apart.
    """
    files_by_place: dict[Path, list[Path]] = {}
    for path in paths:
        for file in find_record_files(path):
            files = files_by_place.setdefault((file if path.is_file() else file.parent).resolve(), [])
            if file not in files:
                files.append(file)
    names = _name_sets(list(files_by_place))
    return [EvaluationSet(name=names[place], files=tuple(files)) for place, files in files_by_place.items()]


def read_rows(evaluation_set: EvaluationSet, *, max_rows: int | None) -> EvaluationRows:
    """Reads a set, and draws from its labelled rows where there are more than wanted; the same ones in every run.

    Raises:
        RecordError: a line is no record; names file and line.
    """
    records = [record for file in evaluation_set.files for record in read_records(file)]
    labelled = [record for record in records if record.label is not None]
    drawn = labelled
    if max_rows is not None and max_rows < len(labelled):
        drawn = [labelled[row] for row in sorted(random.Random(_SEED).sample(range(len(labelled)), max_rows))]
    return EvaluationRows(
        name=evaluation_set.name,
        labelled=drawn,
        num_labelled=len(labelled),
        num_unlabelled=len(records) - len(labelled),
    )


def to_exchange(record: LabelledRecord) -> Exchange | None:
    """Makes the exchange that the record's label is about: an answer with its prompt, else the text or prompt alone.

    Returns:
        None where the text has no UTF-8 form (a lone surrogate): such an event ends as a failure in the service too.
    """
    try:
        if record.response or (record.has_response and not record.text):
            return Exchange(prompt=record.prompt, response=record.response)
        return Exchange(prompt="", response=record.text or record.prompt)
    except ValidationError:
        return None


def spell_out(text: str) -> str:
    """Replaces what has no UTF-8 form by its escape, so that a report can be written."""
    return text.encode("utf-8", "backslashreplace").decode()


def _name_sets(places: Sequence[Path]) -> dict[Path, str]:
    """Names each set after its place, with as many of the directories above it as no other set shares."""
    names: dict[Path, str] = {}
    for num_above in range(max((len(place.parts) for place in places), default=0)):
        longer = {place: _name_set(place, num_above) for place in places}
        counts = Counter(longer.values())
        names = {place: name for place, name in longer.items() if counts[name] == 1} | names
    unnamed = [place for place in places if place not in names]
    if unnamed:
        raise RecordError(
            f"{spell_out(str(unnamed[0]))}: another set beside it has the same name; expected one of them"
        )
    return names


def _name_set(place: Path, num_above: int) -> str:
    above = place.parent.parts[1:][-num_above:] if num_above else ()
    return spell_out("/".join([*above, place.name.split(".jsonl")[0]]))
