"""Examples for the LoRA detector: pairs of a harmful and a safe answer to the same prompt, and answers without one.

A pair is a record's own, or two records of the same prompt. Texts standing alone, prompts without answers and synthetic
rows are left to the detector that ships.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from protector_models.records.examples import Example, ExampleSplit, load_examples, name_training_sets
from protector_models.records.excluded_texts import is_excluded_text
from protector_models.records.mix import SOURCES, RowKind, SourcePlan

_ANSWER_KINDS = (RowKind.ANSWER, RowKind.PREFERENCE)
_OWN_SET = SourcePlan(kind=RowKind.ANSWER, group="own")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerUnit:
    """One training example: a pair, or one answer alone."""

    prompt: str
    harmful: str | None
    """A harmful answer; at least one of the two is there."""
    safe: str | None
    weight: float
    """In the loss; below 1 where labels are weak."""


def load_answers(directory: Path, *, validation_percent: int, seed: int) -> ExampleSplit:
    """Reads the answers of the mix that lie in a directory; where none of its sets does, every record file in it.

    Args:
        directory: holds one directory of records per set, named as in `SOURCES` or otherwise.
        validation_percent: share of prompts held out, decided by a hash of the prompt alone.
        seed: of the draw of rows where a set has more than the mix asks for.

    Raises:
        RecordError: evaluation data, nothing to read, or a line that is no record.
    """
    split = load_examples(directory, validation_percent=validation_percent, seed=seed, sources=_find_sources(directory))
    return ExampleSplit(training=_keep_answers(split.training), validation=_keep_answers(split.validation))


def pair_answers(examples: Sequence[Example], *, seed: int) -> list[AnswerUnit]:
    """Returns pairs and single answers; every answer of the examples is in one of them, once.

    Answers that occur in a public benchmark make no pair: rows with one in them were left out before, and a safe answer
    that a record has beside its own is left out here.
    """
    rng = random.Random(seed)
    by_prompt: dict[tuple[str, int], list[Example]] = defaultdict(list)
    for place, example in enumerate(examples):
        # Answers without a prompt answer nothing that they have in common.
        by_prompt[example.prompt, -1 if example.prompt else place].append(example)
    return [unit for (prompt, _), rows in by_prompt.items() for unit in _pair_rows(prompt, rows, rng)]


def _pair_rows(prompt: str, rows: Sequence[Example], rng: random.Random) -> list[AnswerUnit]:
    safe = [row for row in rows if row.harmful == 0.0]
    rng.shuffle(safe)
    units: list[AnswerUnit] = []
    unpaired: list[Example] = []
    for row in rows:
        if row.harmful != 1.0:
            continue
        own = row.safe_answer.strip()
        if own and not is_excluded_text(own):
            # The same answer may be a record of its own, which then is none any more.
            safe = [other for other in safe if other.response.strip() != own]
            units.append(AnswerUnit(prompt=prompt, harmful=row.response, safe=own, weight=row.weight))
        else:
            unpaired.append(row)
    for row in unpaired:
        partner = safe.pop() if safe else None
        weight = row.weight if partner is None else (row.weight + partner.weight) / 2
        safe_answer = None if partner is None else partner.response
        units.append(AnswerUnit(prompt=prompt, harmful=row.response, safe=safe_answer, weight=weight))
    return units + [AnswerUnit(prompt=prompt, harmful=None, safe=row.response, weight=row.weight) for row in safe]


def _keep_answers(examples: Sequence[Example]) -> list[Example]:
    return [
        example
        for example in examples
        if example.kind in _ANSWER_KINDS and example.harmful is not None and example.source_set != "synthetic"
    ]


def _find_sources(directory: Path) -> Mapping[str, SourcePlan]:
    names = name_training_sets(directory)
    known = {name: plan for name, plan in SOURCES.items() if plan.kind in _ANSWER_KINDS and name in names}
    return known or dict.fromkeys(names, _OWN_SET)
