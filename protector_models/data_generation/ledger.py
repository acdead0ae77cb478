"""The ledger of all that the model has written, on disk as soon as it is there: nothing is paid for twice."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from protector_models.data_generation.instructions import Stage
from protector_models.moderation.errors import ConfigurationError

# Not .jsonl: whoever reads the folder as records must not take these for some.
_LEDGER_FILE = "written.ndjson"
_RUN_FILE = "run.json"


class Ending(StrEnum):
    """How a text ended."""

    WRITTEN = "written"
    CUT = "cut"
    """At the longest answer allowed."""
    REFUSED = "refused"
    """The model declined, or the endpoint's filter stopped it."""
    EMPTY = "empty"


class WrittenText(BaseModel):
    """One answer of the model, whatever it is worth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """What it is the answer to."""
    stage: Stage
    ending: Ending
    text: str


class Ledger:
    """The texts by their keys."""

    def __init__(self, file: Path, texts: Mapping[str, WrittenText]) -> None:
        self._file = file
        self._texts = dict(texts)

    @classmethod
    def open(cls, directory: Path, *, plan: Mapping[str, object]) -> "Ledger":
        """Makes the directory, or reads what an earlier run left in it.

        Args:
            directory: of the data.
            plan: what decides what is asked for: the same in every run into the directory.

        Raises:
            ConfigurationError: the directory cannot be used, or belongs to another plan.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            run = directory / _RUN_FILE
            if not run.exists():
                run.write_text(json.dumps(plan, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            found = json.loads(run.read_text(encoding="utf-8"))
            file = directory / _LEDGER_FILE
            lines = _read_whole_lines(file)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"--out: {directory} cannot be used: {error}") from error
        if not isinstance(found, dict):
            raise ConfigurationError(f"{run}: expected an object that says what is asked for, got something else")
        if found != json.loads(json.dumps(plan)):
            changed = sorted(name for name in {*plan, *found} if plan.get(name) != found.get(name))
            raise ConfigurationError(
                f"--out: {directory} was begun with another {', '.join(changed)}: expected the same, or a new directory"
            )
        try:
            texts = [WrittenText.model_validate_json(line) for line in lines]
        except ValidationError as error:
            raise ConfigurationError(f"{file}: expected one written text a line, got something else") from error
        return cls(file, {text.key: text for text in texts})

    def add(self, text: WrittenText) -> None:
        """Keeps a text; it is with the operating system when this returns."""
        with self._file.open("ab") as file:
            file.write(text.model_dump_json().encode("utf-8") + b"\n")
        self._texts[text.key] = text

    def get(self, key: str) -> WrittenText | None:
        """Returns a text; None where it is yet to be written."""
        return self._texts.get(key)

    def is_empty(self) -> bool:
        """Tells whether nothing was written so far."""
        return not self._texts


def _read_whole_lines(file: Path) -> list[bytes]:
    """Reads the lines, and drops a last one that was cut when a run was killed."""
    if not file.exists():
        return []
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        file.write_bytes(whole)
    return whole.splitlines()
