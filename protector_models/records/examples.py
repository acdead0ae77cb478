"""From labelled records to training examples: reading the mix, cutting validation by prompt, making synthetic rows."""

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from protector_models.records.category_map import label_categories
from protector_models.records.excluded_texts import hash_text, is_excluded_text
from protector_models.records.labelled_records import LabelledRecord, RecordError, find_record_files, read_records
from protector_models.records.mix import (
    BENIGN_SETS,
    SOURCES,
    TRAINABLE_PROMPT_MARK,
    RowKind,
    SourcePlan,
    SyntheticPlan,
)

WRITTEN_ROWS = Path(__file__).parent / "written"
"""Where the rows lie that were written for this project: sets of the mix whose directory is named "written"."""
_WRITTEN = "written/"

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_REFUSAL_START = re.compile(
    r"(i(?:'|’)?m sorry|i am sorry|sorry|i can(?:'|’)?t|i cannot|as an ai|i(?:'|’)?m not able)", re.I
)
_SUFFIXES = (".jsonl.gz", ".jsonl")
_HUMAN_TURN = "Human:"

# A group with ten safe rows to a harmful one would otherwise hand its few harmful rows the loudest voice in the loss.
_MAX_BALANCE = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row of training or validation."""

    kind: RowKind
    source_set: str
    """Directory name of the source; `synthetic` for rows made here."""
    group: str
    prompt: str
    response: str
    """The answer, or the text standing alone; may be empty."""
    harmful: float | None
    """1.0 harmful, 0.0 safe; None: not known, and only a teacher can say."""
    weight: float
    categories: tuple[float | None, ...] | None
    """Labels in the order of `TRAINED_CATEGORIES`, None where there are none."""
    is_benign_set: bool
    """Whether the row counts for the false positive budget."""
    safe_answer: str = ""
    """Of a harmful answer whose record has one: a safe answer to the same prompt; empty elsewhere."""
    harmful_part: str = ""
    """Of a harmful answer whose record says so: the words that make it harmful; the rest is harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSplit:
    """Examples cut by prompt: no prompt (nor text, for texts alone) is on both sides."""

    training: list[Example]
    validation: list[Example]


def check_may_train_on(directory: Path) -> None:
    """Refuses evaluation data.

    Raises:
        RecordError: the directory, or one above it, is named `eval`, or it does not exist.
    """
    resolved = directory.resolve()
    if "eval" in (part.lower() for part in resolved.parts):
        raise RecordError(f"{directory}: evaluation data is never trained on (a directory named 'eval')")
    if not resolved.is_dir():
        raise RecordError(f"{directory}: no such directory")


def load_examples(
    directory: Path, *, validation_percent: int, seed: int, sources: Mapping[str, SourcePlan] = SOURCES
) -> ExampleSplit:
    """Reads every set of the mix that lies under `directory` and cuts it into training and validation.

    Args:
        directory: holds one directory per set, named as in `sources`.
        validation_percent: share of prompts held out, in [1, 50]; decided by a hash of the prompt alone, so one
            prompt falls on one side in every set and every run.
        seed: of the draw of rows where a set has more than its plan asks for, and of the synthetic rows.
        sources: the mix.

    Rows with a text of `excluded_texts` are left out: it occurs in a public benchmark.

    Raises:
        RecordError: evaluation data, a missing set, or a line that is no record.
    """
    check_may_train_on(directory)
    rng = random.Random(seed)
    training: list[Example] = []
    validation: list[Example] = []
    for name, plan in sources.items():
        for example in _load_source(directory, name, plan, validation_percent, rng):
            if is_excluded(example):
                continue
            key = example.prompt if example.prompt else example.response
            held_out = is_held_out(key, percent=validation_percent)
            (validation if held_out else training).extend([example] * (1 if held_out else plan.repeats))
    training = balance_groups(training)
    training += make_synthetic_examples(training, SyntheticPlan(), rng)
    return ExampleSplit(training=training, validation=validation)


def name_training_sets(directory: Path) -> list[str]:
    """Returns the names of all record files of a directory, as `read_training_set` takes them; sorted.

    Raises:
        RecordError: evaluation data, no such directory, or no record file in it.
    """
    check_may_train_on(directory)
    files = [file.relative_to(directory).as_posix() for file in find_record_files(directory)]
    return sorted({file.removesuffix(suffix) for file in files for suffix in _SUFFIXES if file.endswith(suffix)})


def read_training_set(directory: Path, name: str) -> list[LabelledRecord]:
    """Reads one record file of the training data, whole.

    Args:
        directory: holds one directory per set.
        name: directory and file name without suffix, such as "paradetox/train"; of the directory "written", a set
            that comes with the project.

    Raises:
        RecordError: evaluation data, a missing set, or a line that is no record.
    """
    if name.startswith(_WRITTEN):
        directory = WRITTEN_ROWS.parent
    candidates = [directory / f"{name}{suffix}" for suffix in _SUFFIXES]
    file = next((path for path in candidates if path.is_file()), None)
    if file is None:
        raise RecordError(f"{candidates[0]}: missing, and so is {candidates[1].name}; the mix needs this set")
    # A link inside the directory could lead out of it.
    check_may_train_on(file.resolve().parent)
    return list(read_records(file))


def is_held_out(prompt: str, *, percent: int) -> bool:
    """Tells whether a prompt belongs to validation, by a hash of its letters and digits: case and marks are ignored."""
    return int(hash_text(prompt)[:8], 16) % 100 < percent


def is_excluded(example: Example) -> bool:
    """Tells whether prompt or response occurs in a public benchmark, whatever case and marks it is written with."""
    return is_excluded_text(example.prompt) or is_excluded_text(example.response)


def _load_source(
    directory: Path, name: str, plan: SourcePlan, validation_percent: int, rng: random.Random
) -> list[Example]:
    records = read_training_set(directory, name)
    found = [example for record in records for example in to_examples(record, name, plan)]
    examples = [example for example in found if example.harmful is not None]
    rng.shuffle(examples)
    caps = {1.0: plan.num_harmful, 0.0: plan.num_safe, None: 100_000}
    kept: list[Example] = []
    for example in examples:
        if caps[example.harmful] > 0:
            caps[example.harmful] -= 1
            kept.append(example)
        elif example.is_benign_set and is_held_out(example.prompt or example.response, percent=validation_percent):
            # Costs no training: the more ordinary rows are held out, the smaller a false positive budget can be told.
            kept.append(example)
    return kept


def to_examples(record: LabelledRecord, name: str, plan: SourcePlan) -> list[Example]:
    """Makes the examples of one record: two of a preference, none of what cannot be trained on, one of all others."""
    record = _replace_lone_surrogates(record)
    body = record.text if plan.kind is RowKind.TEXT else record.response
    if _CJK.search(body):
        return []
    source_set = name.partition("/")[0]
    example = Example(
        kind=plan.kind,
        source_set=source_set,
        group=plan.group,
        prompt=record.prompt,
        response=body,
        harmful=None if record.label is None else float(record.label),
        weight=plan.weight,
        categories=None,
        is_benign_set=name in BENIGN_SETS,
    )
    if plan.kind is RowKind.PREFERENCE:
        example = replace(example, prompt=take_last_turn(record.prompt))
        pair = [replace(example, harmful=1.0), replace(example, response=record.pair, harmful=0.0)]
        return pair if record.pair and record.response else []
    if plan.kind is RowKind.PROMPT:
        if not record.category.startswith(TRAINABLE_PROMPT_MARK):
            return []
        labels = label_categories(source_set, record.category, record.prompt)
        return [replace(example, prompt="", response=record.prompt, harmful=1.0, categories=labels)]
    if not body.strip():
        return []
    if record.label == 1:
        categories = label_categories(source_set, record.category, f"{record.prompt} {body}")
        example = replace(example, categories=categories, safe_answer=record.pair, harmful_part=record.harmful_part)
    return [example]


def _replace_lone_surrogates(record: LabelledRecord) -> LabelledRecord:
    """Puts question marks in their place, as serving does (`text_windows.cover_text`): no tokenizer takes them."""
    prompt, response, text, pair = (
        words.encode("utf-8", "replace").decode("utf-8")
        for words in (record.prompt, record.response, record.text, record.pair)
    )
    return replace(record, prompt=prompt, response=response, text=text, pair=pair)


def take_last_turn(dialogue: str) -> str:
    """Returns what the person said last in a dialogue written as "Human: ... Assistant: ...", else the text itself."""
    return dialogue.rpartition(_HUMAN_TURN)[2].strip() if dialogue.startswith(_HUMAN_TURN) else dialogue


def balance_groups(examples: Sequence[Example]) -> list[Example]:
    """Scales weights so that harmful and safe rows of a group weigh alike, by at most a factor of 3 either way."""
    sums: dict[tuple[str, float], float] = defaultdict(float)
    for example in examples:
        if example.harmful is not None:
            sums[example.group, example.harmful] += example.weight
    balanced: list[Example] = []
    for example in examples:
        if example.harmful is None or min(sums[example.group, 0.0], sums[example.group, 1.0]) == 0.0:
            balanced.append(example)
            continue
        ratio = sums[example.group, 1.0 - example.harmful] / sums[example.group, example.harmful]
        # The square root on both sides: harmful rows go up as far as safe rows go down, and the mean stays near one.
        factor = min(max(ratio, 1.0 / _MAX_BALANCE), _MAX_BALANCE) ** 0.5
        balanced.append(replace(example, weight=example.weight * factor))
    return balanced


def make_synthetic_examples(training: Sequence[Example], plan: SyntheticPlan, rng: random.Random) -> list[Example]:
    """Makes rows in which prompt and answer disagree; only from training rows, so validation stays natural.

    Returns:
        New examples of group `synthetic`; fewer than planned where the rows to make them from are missing.
    """
    harmful_prompts = [row.response for row in training if row.kind is RowKind.PROMPT]
    answers = [row for row in training if row.kind is RowKind.ANSWER]
    refusals = [row.response for row in answers if row.harmful == 0.0 and _REFUSAL_START.match(row.response)]
    benign = [row for row in answers if row.is_benign_set]
    harmful = [row for row in answers if row.harmful == 1.0 and row.group == "instructions"]
    made: list[Example] = []
    if harmful_prompts and refusals:
        made += [
            _synthetic(rng.choice(harmful_prompts), rng.choice(refusals), harmful=0.0) for _ in range(plan.num_refusals)
        ]
    if harmful_prompts and benign:
        made += [
            _synthetic(rng.choice(harmful_prompts), rng.choice(benign).response, harmful=0.0)
            for _ in range(plan.num_misplaced_benign)
        ]
    if harmful and benign:
        made += [
            _synthetic(rng.choice(benign).prompt, rng.choice(harmful).response, harmful=1.0)
            for _ in range(plan.num_misplaced_harmful)
        ]
    if harmful_prompts:
        made += [_synthetic(rng.choice(harmful_prompts), "", harmful=0.0) for _ in range(plan.num_empty)]
    asked = [row.prompt for row in benign if row.prompt]
    if asked:
        made += [
            _synthetic("", rng.choice(asked), harmful=0.0, kind=RowKind.PROMPT) for _ in range(plan.num_benign_prompts)
        ]
    return made


def _synthetic(prompt: str, response: str, *, harmful: float, kind: RowKind = RowKind.ANSWER) -> Example:
    return Example(
        kind=kind,
        source_set="synthetic",
        group="synthetic",
        prompt=prompt,
        response=response,
        harmful=harmful,
        weight=1.0,
        categories=None,
        is_benign_set=False,
    )
