"""The files of rows, read and checked, cut to a half and to a number of rows."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from protector_models.evaluation.behaviours.behaviour_row import Half, half_of
from protector_models.evaluation.behaviours.checked_yaml import read_checked
from protector_models.evaluation.detoxification.behaviours.row_forms import (
    EditableRow,
    InnocentRow,
    InnocentTalkRow,
    LeftoversRow,
    NeedRow,
    OddRow,
    RowForm,
    Text,
)
from protector_models.moderation.errors import ConfigurationError
from protector_models.records.labelled_records import RecordError

ROWS = resources.files("protector_models.evaluation.detoxification.behaviours").joinpath("rows")

LEFTOVERS, INNOCENT_SENTENCES, EDITABLE = "leftovers", "innocent_sentences", "editable"
PEOPLE_IN_NEED, SOUNDS_LIKE_CRISIS, ODD_INPUTS = "people_in_need", "sounds_like_crisis", "odd_inputs"

RowT_co = TypeVar("RowT_co", bound=RowForm, covariant=True)
_TEXTS = ("prompt", "sentences", "text", "keep", "turns", "response", "harmful", "long")
_SEED = 0


class RowFile(BaseModel, Generic[RowT_co]):
    """All rows of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """The file is named after it."""
    about: Text
    """What is tested, in a line."""
    rows: Annotated[tuple[RowT_co, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _require_distinct_ids(self) -> Self:
        seen: set[str] = set()
        for place, row in enumerate(self.rows):
            if row.id in seen:
                raise ValueError(f"rows.{place}.id: {row.id!r} is there twice: expected an id of its own")
            seen.add(row.id)
        return self


FORMS: Mapping[str, type[RowFile[RowForm]]] = {
    LEFTOVERS: RowFile[LeftoversRow],
    INNOCENT_SENTENCES: RowFile[InnocentRow],
    EDITABLE: RowFile[EditableRow],
    PEOPLE_IN_NEED: RowFile[NeedRow],
    SOUNDS_LIKE_CRISIS: RowFile[InnocentTalkRow],
    ODD_INPUTS: RowFile[OddRow],
}
"""Of each kind, in the order of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourSet:
    """Rows of one kind."""

    kind: str
    about: str
    """What is tested, in a line."""
    rows: Sequence[RowForm]
    """Each in its kind's form."""

    def of_half(self, half: Half | None) -> "BehaviourSet":
        """Returns the rows of one half, in order; None: all. A topic is in one half, by a hash that nothing moves."""
        return replace(self, rows=[row for row in self.rows if half in {None, half_of(self.kind, row.topic)}])

    def draw(self, max_rows: int | None) -> "BehaviourSet":
        """Returns at most so many rows, in order, drawn with a fixed seed."""
        if max_rows is None or len(self.rows) <= max_rows:
            return self
        places = sorted(random.Random(_SEED).sample(range(len(self.rows)), max_rows))
        return replace(self, rows=[self.rows[place] for place in places])


def read_row_file(file: Path | Traversable) -> BehaviourSet:
    """Returns the rows of a file.

    Raises:
        RecordError: it cannot be read, is named after no kind, or is not of its kind's form; names file, line and row.
    """
    kind = file.name.removesuffix(".yaml")
    if kind not in FORMS:
        raise RecordError(f"{file}: expected a file named after one of {', '.join(FORMS)}")
    found = read_checked(file, FORMS[kind], texts=_TEXTS)
    if found.kind != kind:
        raise RecordError(f"{file}: kind: expected {kind!r}, the name of the file, got {found.kind!r}")
    return BehaviourSet(kind=kind, about=found.about, rows=found.rows)


def load_sets(*, half: Half | None, names: Sequence[str] = (), max_rows: int | None = None) -> list[BehaviourSet]:
    """Returns the sets that come with Weir, in the order of the table.

    Args:
        half: the rows of this half alone; None: all.
        names: these kinds alone; empty: all.
        max_rows: the most rows of a set; None: all.

    Raises:
        RecordError: a file cannot be used.
        ConfigurationError: there is no kind of that name.
    """
    if unknown := sorted(set(names) - FORMS.keys()):
        raise ConfigurationError(f"--behaviour: expected some of {', '.join(FORMS)}, got {unknown[0]!r}")
    kinds = [kind for kind in FORMS if not names or kind in names]
    return [read_row_file(ROWS.joinpath(f"{kind}.yaml")).of_half(half).draw(max_rows) for kind in kinds]
