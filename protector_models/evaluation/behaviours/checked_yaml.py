"""YAML files of this room, read and checked: every fault is told with file, line and the id that it stands in."""

from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from protector_models.moderation.errors import ConfigurationError
from protector_models.policies.yaml_faults import Fault, find_faults
from protector_models.policies.yaml_file import read_yaml_document
from protector_models.records.labelled_records import RecordError

FormT = TypeVar("FormT", bound=BaseModel)


def read_checked(file: Path | Traversable, form: type[FormT], *, texts: Sequence[str]) -> FormT:
    """Return what a file holds, in its form.

    Args:
        file: the file, in UTF-8.
        form: what it must be.
        texts: keys whose values no message quotes.

    Raises:
        RecordError: it cannot be read, is not YAML, or has another form; one line.
    """
    try:
        document = read_yaml_document(file, name=str(file))
    except ConfigurationError as error:
        raise RecordError(str(error)) from error
    try:
        return form.model_validate(document.content)
    except ValidationError as error:
        faults = find_faults(error, form, document, secret_words=texts)
        told = "; ".join(_tell(fault, document.content) for fault in faults)
    # Not chained: pydantic's own message quotes the texts.
    raise RecordError(f"{file}: {told}")


def _tell(fault: Fault, content: Any) -> str:
    line = "" if fault.line is None else f"line {fault.line}: "
    owner = _find_id(fault.steps, content)
    key = ".".join(map(str, fault.steps))
    return f"{line}{f'{owner}: ' if owner else ''}{f'{key}: ' if key else ''}{fault.text}"


def _find_id(steps: Sequence[int | str], content: Any) -> str | None:
    """Returns the id nearest to a place; None where nothing above it has one."""
    nearest = None
    for step in steps:
        try:
            content = content[step]
        except (KeyError, IndexError, TypeError):
            break
        if isinstance(content, dict) and isinstance(content.get("id"), str):
            nearest = content["id"]
    return nearest
