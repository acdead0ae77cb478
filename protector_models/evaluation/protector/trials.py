"""The rows of the experiment: what an MLLM is or was asked, with its picture, and its answer where one was recorded."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from protector_models.records.labelled_records import LabelledRecord, RecordError, read_records
from protector_models.records.record_sets import find_sets, spell_out

ItemT = TypeVar("ItemT")

NO_SCENARIO = "(none)"
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One question to an MLLM."""

    trial_id: str
    """Identity inside its set."""
    scenario: str
    """What kind of harm is asked for, or what kind of task it is, in the words of its set."""
    prompt: str
    image: Path | None
    """A picture's file, which is there; None where the question has no picture, or none is at hand."""
    response: str | None
    """The recorded answer; None: the MLLM shall answer."""
    label: int | None = None
    """What its set says of the recorded answer: 1 harmful, 0 safe; None where it says nothing."""

    def fingerprint(self) -> str:
        """Returns a hash of question, picture's name and recorded answer: equal ones have equal results."""
        content = json.dumps([self.prompt, str(self.image), self.response])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSet:
    """Trials under one name."""

    name: str
    is_benign: bool
    """Whether every question is a harmless one, so that its answer is to be delivered as it is."""
    trials: tuple[Trial, ...]
    num_passed_over: int = 0
    """Records without an answer, where no MLLM is there to give one."""
    num_images_missing: int = 0
    """Trials whose picture is named but not there; they are run without."""


def read_recorded_sets(
    paths: Sequence[Path], *, is_benign: bool, sources: Sequence[str], is_live: bool, max_trials: int | None
) -> list[TrialSet]:
    """Reads record files: each directory that holds some is a set under its name, and so is a file given by itself.

    Args:
        paths: record files or directories.
        is_benign: whether every question in them is harmless; records labelled 1 are then left out.
        sources: only records whose `source` begins with one of these; empty: all.
        is_live: whether an MLLM answers what has no recorded answer; else such records are passed over and counted.
        max_trials: the most trials of a set, drawn with a fixed seed; None takes all.

    Raises:
        RecordError: a line is no record, two records have one id, or nothing is left.
    """
    sets = []
    for found in find_sets(paths):
        rows = [(record, file) for file in found.files for record in read_records(file)]
        rows = [row for row in rows if not sources or row[0].source.startswith(tuple(sources))]
        if is_benign:
            rows = [row for row in rows if row[0].label != 1]
        usable = [row for row in rows if row[0].has_response or is_live]
        drawn = draw(usable, max_trials)
        trials = tuple(_to_trial(record, file) for record, file in drawn)
        _require_own_ids(found.name, trials)
        sets.append(
            TrialSet(
                name=found.name,
                is_benign=is_benign,
                trials=trials,
                num_passed_over=len(rows) - len(usable),
                num_images_missing=sum(
                    bool(record.image) and trial.image is None for (record, _), trial in zip(drawn, trials, strict=True)
                ),
            )
        )
    sets = [found for found in sets if found.trials]
    if not sets:
        raise RecordError(
            f"{', '.join(map(str, paths))}: expected records with a prompt and a response"
            + (f" from {', '.join(sources)}" if sources else "")
            + ("" if is_live else "; those without a response need an MLLM (mllm.kind)")
        )
    return sets


def draw(items: Sequence[ItemT], most: int | None) -> list[ItemT]:
    """Draws at most so many items with a fixed seed, in their order."""
    if most is None or most >= len(items):
        return list(items)
    return [items[place] for place in sorted(random.Random(_SEED).sample(range(len(items)), most))]


def _to_trial(record: LabelledRecord, file: Path) -> Trial:
    image = file.parent / record.image if record.image else None
    return Trial(
        trial_id=spell_out(record.record_id),
        scenario=spell_out(record.category) or NO_SCENARIO,
        prompt=record.prompt or record.text,
        image=image if image is not None and image.is_file() else None,
        response=record.response if record.has_response else None,
        label=record.label if record.has_response else None,
    )


def _require_own_ids(name: str, trials: Sequence[Trial]) -> None:
    seen: set[str] = set()
    for trial in trials:
        if trial.trial_id in seen:
            raise RecordError(f"{name}: two records with id {trial.trial_id!r}: expected one each")
        seen.add(trial.trial_id)
