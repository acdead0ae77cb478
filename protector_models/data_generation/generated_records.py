"""From written answers to training records, and from given records to prompts."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protector_models.data_generation.instructions import Stage
from protector_models.data_generation.ledger import Ending, Ledger, WrittenText
from protector_models.data_generation.near_duplicates import NearDuplicates
from protector_models.data_generation.recipe import Question, answer_key, question_of_prompt
from protector_models.records.excluded_texts import is_excluded_text
from protector_models.records.labelled_records import RecordError, find_record_files, read_records
from protector_models.records.mix import TRAINABLE_PROMPT_MARK

RECORDS_FILE = "records.jsonl"
_USABLE = frozenset({Ending.WRITTEN, Ending.CUT})
_ROLE = "role:"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedRecords:
    """What was made of the answers so far."""

    records: list[dict[str, object]]
    endings: Counter[str]
    """Answers by what was asked for and how they ended, such as "harmful refused"."""
    num_missing: int
    """Answers that are yet to be written."""
    num_duplicates: int
    """Records dropped because the set has a near-duplicate of the answer."""
    num_like_harmless: int
    """Harmful answers dropped because a harmless one is like them: the model did not do what it was asked for."""

    def count(self, label: int) -> int:
        """Counts the records of a label."""
        return sum(record["label"] == label for record in self.records)


def collect_records(questions: Sequence[Question], ledger: Ledger, *, model: str) -> GeneratedRecords:
    """Makes two records of each question: the harmful answer with the harmless one as its pair, and the latter alone.

    The label is what was asked for: nobody looked whether the answer is so, and `source` says that. An answer that
    declines, is empty, or is like a harmless one is never labelled as harmful; a refusal is a harmless answer where
    one was asked for.

    Args:
        questions: what was asked.
        ledger: the answers.
        model: that wrote them; goes into `source`.
    """
    source = f"weir data generate, {model}, label by construction"
    records: list[dict[str, object]] = []
    endings: Counter[str] = Counter()
    num_missing = num_duplicates = num_like_harmless = 0
    known = {Stage.HARMFUL: NearDuplicates(), Stage.HARMLESS: NearDuplicates()}
    all_harmless = _gather_harmless(questions, ledger)
    for question in questions:
        wanted = [Stage.HARMFUL, Stage.HARMLESS] if question.wants_harmful else [Stage.HARMLESS]
        written = {stage: ledger.get(answer_key(question, stage)) for stage in wanted}
        num_missing += sum(text is None for text in written.values())
        endings.update(f"{stage} {text.ending}" for stage, text in written.items() if text is not None)
        harmless = written[Stage.HARMLESS]
        for stage, text in written.items():
            if text is None or not _is_usable(text):
                continue
            if stage is Stage.HARMFUL and all_harmless.has_like(text.text):
                num_like_harmless += 1
                continue
            if not known[stage].add(text.text):
                num_duplicates += 1
                continue
            is_harmful = stage is Stage.HARMFUL
            records.append(
                {
                    "id": f"generated/{question.question_id}/{stage}",
                    "source": source,
                    "prompt": question.text,
                    "response": text.text,
                    "text": None,
                    "image": None,
                    "label": int(is_harmful),
                    "category": question.category or None,
                    "pair": harmless.text if is_harmful and harmless is not None and _is_usable(harmless) else None,
                }
            )
    return GeneratedRecords(
        records=records,
        endings=endings,
        num_missing=num_missing,
        num_duplicates=num_duplicates,
        num_like_harmless=num_like_harmless,
    )


def write_records(directory: Path, records: Sequence[dict[str, object]]) -> Path:
    """Writes all records at once: whoever reads the file finds the old or the new one whole."""
    file = directory / RECORDS_FILE
    new = file.with_suffix(".new")
    new.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    new.replace(file)
    return file


def read_prompts(path: Path) -> list[Question]:
    """Reads prompts to write answers to: distinct ones that no public benchmark has.

    Of records whose category says a role, only those whose role is to be trained on. A prompt labelled 0 is harmless.

    Raises:
        RecordError: the path holds evaluation data or no such prompt, or a line is no record.
    """
    if "eval" in (part.lower() for part in path.resolve().parts):
        raise RecordError(f"{path}: evaluation data is never trained on (a directory named 'eval')")
    known = NearDuplicates()
    questions: list[Question] = []
    for file in find_record_files(path):
        for record in read_records(file):
            role = record.category
            if role.startswith(_ROLE) and not role.startswith(TRAINABLE_PROMPT_MARK):
                continue
            prompt = record.prompt.encode("utf-8", "replace").decode()
            if prompt and not is_excluded_text(prompt) and known.add(prompt):
                category = role.removeprefix(TRAINABLE_PROMPT_MARK).strip("/ ")
                questions.append(question_of_prompt(prompt, category=category, wants_harmful=record.label != 0))
    if not questions:
        raise RecordError(f"{path}: expected records with a prompt that may be trained on, got none")
    return questions


def _gather_harmless(questions: Sequence[Question], ledger: Ledger) -> NearDuplicates:
    found = NearDuplicates()
    for question in questions:
        text = ledger.get(answer_key(question, Stage.HARMLESS))
        if text is not None and _is_usable(text):
            found.add(text.text)
    return found


def _is_usable(text: WrittenText) -> bool:
    return text.ending in _USABLE or (
        text.stage is Stage.HARMLESS and text.ending is Ending.REFUSED and bool(text.text)
    )
