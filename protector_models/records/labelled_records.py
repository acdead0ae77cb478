"""Reading labelled records: JSON Lines, gzip where large, every fault named by file and line.

The record form is the one the training and evaluation data share: one JSON object per line with the keys `id`,
`source`, `prompt`, `response`, `text`, `image`, `label`, `category`, `pair` and `harmful_part`. `label` is 1 for
harmful, 0 for safe and null for unknown; it refers to the response where there is one, else to `text`, else to the
prompt.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RECORD_SUFFIXES = (".jsonl", ".jsonl.gz")


class RecordError(ValueError):
    """A data file, or one line of it, is not in the record form.

    The message names file, line and fault, and never quotes the text of the record.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRecord:
    """One labelled text: an answer to a prompt, a text standing alone, or a prompt without an answer."""

    record_id: str
    """Identity inside its set."""
    prompt: str
    """The user's turn; empty where the record has none."""
    response: str
    """The model's answer; empty where the record has none, and where the model said nothing."""
    has_response: bool
    """Whether the record has an answer, which may be empty: the label is about it then."""
    text: str
    """A text standing alone; empty where the record is an answer or a prompt."""
    label: int | None
    """1 harmful, 0 safe, None unknown."""
    category: str
    """The upstream category field as written; several are joined by commas; empty where there is none."""
    pair: str
    """A safe rewrite of the text, or a safe answer to the same prompt; empty where there is none."""
    source: str = ""
    """Where the record comes from, in the words of its set; empty where it does not say."""
    image: str = ""
    """The picture that was shown with the prompt, relative to the record's file; empty where there is none."""
    harmful_part: str = ""
    """The words of a harmful response that make it so, where the record says which; the rest of it is harmless."""


def find_record_files(path: Path) -> list[Path]:
    """Returns the record files at `path`: the file itself, or all of a directory tree, sorted by path.

    Raises:
        RecordError: `path` does not exist, or holds no record file.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise RecordError(f"{path}: no such file or directory")
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name.endswith(RECORD_SUFFIXES))
    if not files:
        raise RecordError(f"{path}: holds no file ending in {' or '.join(RECORD_SUFFIXES)}")
    return files


def read_records(file: Path) -> Iterator[LabelledRecord]:
    """Yields the records of one file in order; blank lines are passed over.

    Raises:
        RecordError: the file cannot be read, or a line is not a record; names file and line.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parse_record(line, place=f"{file}:{number}")
    except (OSError, EOFError, zlib.error) as error:
        raise RecordError(f"{file}: cannot be read: {type(error).__name__}") from error


def _parse_record(line: bytes, *, place: str) -> LabelledRecord:
    try:
        fields = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RecordError(f"{place}: not UTF-8: {error.reason} at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        raise RecordError(f"{place}: not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        # Python reads neither an integer of thousands of digits nor an array that is nested as deeply.
        raise RecordError(f"{place}: cannot be read: {type(error).__name__}") from error
    if not isinstance(fields, dict):
        raise RecordError(f"{place}: expected a JSON object, got {type(fields).__name__}")
    if "label" not in fields:
        raise RecordError(f"{place}: no 'label' (1 harmful, 0 safe, null unknown)")
    label = fields["label"]
    if isinstance(label, bool) or label not in (0, 1, None) or isinstance(label, float):
        raise RecordError(f"{place}: 'label' must be 0, 1 or null, got {label!r:.40}")
    prompt, response, text = (_read_text(fields, key, place=place) for key in ("prompt", "response", "text"))
    if not (prompt or response or text):
        raise RecordError(f"{place}: 'prompt', 'response' and 'text' are all missing or empty")
    return LabelledRecord(
        record_id=_read_text(fields, "id", place=place) or place,
        prompt=prompt,
        response=response,
        has_response=fields.get("response") is not None,
        text=text,
        label=label,
        category=_read_category(fields, place=place),
        pair=_read_text(fields, "pair", place=place),
        source=_read_text(fields, "source", place=place),
        image=_read_text(fields, "image", place=place),
        harmful_part=_read_text(fields, "harmful_part", place=place),
    )


def _read_text(fields: dict[str, object], key: str, *, place: str) -> str:
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RecordError(f"{place}: {key!r} must be a string or null, got {type(value).__name__}")
    return value


def _read_category(fields: dict[str, object], *, place: str) -> str:
    value = fields.get("category")
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    if isinstance(value, dict):
        return ",".join(sorted(str(name) for name, present in value.items() if present))
    return _read_text(fields, "category", place=place)
