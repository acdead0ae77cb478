"""Faults of a YAML file that has not the expected form, in the words of whoever wrote it."""

import datetime
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from protector_models.policies.yaml_file import Written, YamlDocument, say_boolean

_TEXT_EXPECTED = frozenset({"string_type", "literal_error", "enum"})
_SECTION_EXPECTED = frozenset({"model_type", "model_attributes_type", "dict_type"})
"""Faults where a whole section was to be: what stands in its place may be a secret."""
_NUMBER_EXPECTED = frozenset({"float_type", "float_parsing", "int_type", "int_parsing"})
_NUMBER = r"[-+]?[0-9]+([.,][0-9]+)?"
_MEMBER = re.compile(r"<\w+\.\w+: ('[^']*')>")
"""How pydantic shows the member of an enum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong."""

    steps: tuple[int | str, ...]
    """Where: keys and positions; empty for the whole."""
    line: int | None
    """Counted from 1; None where it stands in no line, as what is missing does."""
    text: str

    @property
    def key(self) -> str:
        """The steps, with dots between them."""
        return ".".join(map(str, self.steps))


def find_faults(
    error: ValidationError, form: type[BaseModel], document: YamlDocument, *, secret_words: Sequence[str] = ()
) -> list[Fault]:
    """Return everything that is wrong with a file, in its order.

    Args:
        error: what `form` says of it.
        form: what the file was to be.
        document: the file.
        secret_words: where one of them is in a key, the value is not told.
    """
    details = error.errors(include_url=False)
    # An item that is wrong is not counted, so that its list is called too short as well.
    places = [detail["loc"] for detail in details]
    causes = [detail for detail in details if detail["type"] != "too_short" or not _is_inside(detail["loc"], places)]
    return [_describe(detail, form, document, secret_words) for detail in causes]


def _is_inside(outer: tuple[int | str, ...], places: Iterable[tuple[int | str, ...]]) -> bool:
    return any(len(place) > len(outer) and place[: len(outer)] == outer for place in places)


def _describe(
    detail: ErrorDetails, form: type[BaseModel], document: YamlDocument, secret_words: Sequence[str]
) -> Fault:
    steps, kind = detail["loc"], detail["type"]
    written = None if kind == "missing" else document.find(steps)
    if kind == "extra_forbidden":
        text = f"unknown key; {_suggest(str(steps[-1]), _known_keys(form, steps[:-1]))}"
    elif kind == "missing":
        text = "expected it to be there"
    elif kind == "invalid_key":
        text = f"expected a key that is text, got {steps[-1]!r:.80}: quote it"
    else:
        is_secret = any(word in str(step) for step in steps for word in secret_words)
        text = _explain(detail, written, is_secret=is_secret)
    if not steps:
        # The message names a place itself, as `rules.0: expected`.
        written = document.find([int(step) if step.isdigit() else step for step in text.split(":")[0].split(".")])
    return Fault(steps=steps, line=None if written is None else written.line, text=text)


def _explain(detail: ErrorDetails, written: Written | None, *, is_secret: bool) -> str:
    value, kind = detail["input"], detail["type"]
    expected = _say_expected(detail["msg"])
    if kind == "value_error" and not isinstance(value, str | int | float):
        return expected  # it says what it got
    if kind in _SECTION_EXPECTED or not isinstance(value, str | int | float | datetime.date | None):
        return f"{expected}, got {'nothing' if value is None else type(value).__name__}"
    if isinstance(value, str):
        got = type(value).__name__ if is_secret else f"{value!r:.80}"
        hint = None if is_secret or kind not in _NUMBER_EXPECTED else _hint_at_number(value, kind, written)
        return f"{expected}, got {got}" + (f": {hint}" if hint else "")
    if kind in _TEXT_EXPECTED:
        return f"{expected}, got {_say_reading(value, None if is_secret or written is None else written.text)}"
    text = None if written is None or not isinstance(value, bool) else written.text
    return f"{expected}, got {type(value).__name__ if is_secret else text or json.dumps(value, default=str)}"


def _say_expected(message: str) -> str:
    message = _MEMBER.sub(r"\1", message.removeprefix("Value error, ").split(", unable to ")[0])
    message = re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping", message)
    return re.sub(r"^Input should be ((greater|less)\b)?", r"expected \1", message)


def _say_reading(value: object, text: str | None) -> str:
    """Return what YAML makes of a word without quotes where text is expected.

    Args:
        value: what it is read as.
        text: the word; None where it is not known or not to be told.
    """
    if value is None and not text:
        return "nothing"
    if isinstance(value, bool):
        reading = say_boolean(text) if text else str(value).lower()
    elif value is None:
        reading = "nothing"
    else:
        reading = "a number" if isinstance(value, int | float) else "a date"
    return f"{f'{text:.80}, which is {reading} in YAML' if text else reading}: quote it"


def _hint_at_number(value: str, kind: str, written: Written | None) -> str | None:
    text = value.strip()
    is_whole = kind.startswith("int_")
    if re.fullmatch(rf"{_NUMBER}\s*%", text):
        share = float(text.removesuffix("%").replace(",", ".")) / 100
        return "no percent sign is meant" if is_whole else f"no percent sign is meant, as in {share:g}"
    if not re.fullmatch(_NUMBER, text):
        return None
    if "," in text:
        return "no comma is meant" if is_whole else f"a decimal point is meant, as in {text.replace(',', '.')}"
    return "no quotes are meant" if written is not None and written.is_quoted else None


def _suggest(key: str, known: Sequence[str]) -> str:
    near = get_close_matches(key, known)
    return f"did you mean {' or '.join(near)}?" if near else f"expected one of: {', '.join(known)}"


def _known_keys(form: type[BaseModel], steps: Sequence[int | str]) -> list[str]:
    """Return the keys that a form has at the end of a path, sorted; steps that are no field lead through lists."""
    models = [form]
    for step in steps:
        fields = [model.model_fields[str(step)] for model in models if step in model.model_fields]
        if fields:
            models = [model for field in fields for model in _models_in(field.annotation)]
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
