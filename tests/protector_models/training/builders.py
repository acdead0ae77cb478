"""Builders of labelled data in the record form, small enough to train on in a second."""

import json
from collections.abc import Mapping
from pathlib import Path

from protector_models.records.examples import Example
from protector_models.records.mix import SOURCES, TRAINABLE_PROMPT_MARK, RowKind


def make_record(**fields: object) -> dict[str, object]:
    empty = dict.fromkeys(["source", "prompt", "response", "text", "image", "category", "pair"])
    return {"id": "set/1", **empty, "label": 0, **fields}


def write_records(file: Path, records: list[dict[str, object]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


def write_mix(directory: Path, *, rows_per_set: int = 8) -> Path:
    """Writes every set that the mix asks for, with invented rows."""
    for name, plan in SOURCES.items():
        rows = [_make_row(name, plan.kind, index) for index in range(rows_per_set)]
        write_records(directory / f"{name}.jsonl", rows)
    return directory


def _make_row(name: str, kind: RowKind, index: int) -> dict[str, object]:
    prompt, label = f"question {index} of {name}", index % 2
    answer = f"a bad plan with step {index}" if label else f"I'm sorry, here is kind advice {index}"
    match kind:
        case RowKind.ANSWER:
            return make_record(prompt=prompt, response=answer, label=label)
        case RowKind.PREFERENCE:
            return make_record(prompt=prompt, response="rejected words", pair="preferred words", label=None)
        case RowKind.TEXT:
            return make_record(text=f"{answer} of {name}", label=label)
        case RowKind.PROMPT:
            category = f"{TRAINABLE_PROMPT_MARK}/Adult Content/Erotic text" if label else "role:EVAL"
            return make_record(prompt=prompt, label=1, category=category)


def make_example(**fields: object) -> Example:
    defaults: Mapping[str, object] = {
        "kind": RowKind.ANSWER,
        "source_set": "gptfuzz",
        "group": "instructions",
        "prompt": "how do I do it",
        "response": "like this",
        "harmful": 1.0,
        "weight": 1.0,
        "categories": None,
        "is_benign_set": False,
    }
    return Example(**{**defaults, **fields})  # type: ignore[arg-type]  # checked by the dataclass's users
