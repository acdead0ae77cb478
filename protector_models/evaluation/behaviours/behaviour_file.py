"""Files of behaviour rows: templates with slots, the form in which rows are written, and what they expand to."""

import re
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from itertools import product
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from protector_models.evaluation.behaviours.behaviour_row import BehaviourRow, Wanted, half_of
from protector_models.evaluation.behaviours.checked_yaml import read_checked
from protector_models.moderation.even_sampling import sample_evenly
from protector_models.moderation.harm_categories import HarmCategory
from protector_models.records.labelled_records import RecordError

MAX_ROWS_PER_TEMPLATE = 12
_SLOT = re.compile(r"\{([A-Za-z_]\w*)\}")
_TEXTS = ("prompt", "response")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Text = Annotated[str, Field(min_length=1)]
SlotName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]


class BehaviourTemplate(BaseModel):
    """One template: a row for every combination of what its slots can hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Name
    """Unique in its file."""
    wanted: Wanted
    category: HarmCategory | None = None
    """Of a template whose rows are to be acted on."""
    prompt: str
    """May be empty."""
    response: Text
    slots: dict[SlotName, Annotated[tuple[Text, ...], Field(min_length=1)]] = Field(default_factory=dict)
    topic: Text | None = None
    """What the table by topic calls it."""
    pair: Name | None = None
    """Templates of one pair, and the rows of each, differ in what must not matter. They are in one half."""

    @model_validator(mode="after")
    def _require_agreement(self) -> Self:
        if self.wanted == "allow" and self.category is not None:
            raise ValueError(f"category: expected none where 'allow' is wanted, got {self.category!r}")
        used = {name for text in _TEXTS for name in _SLOT.findall(getattr(self, text))}
        if unknown := sorted(used - self.slots.keys()):
            raise ValueError(f"unknown slot {unknown[0]!r}: expected one of {', '.join(sorted(self.slots)) or 'none'}")
        if idle := sorted(self.slots.keys() - used):
            raise ValueError(f"slot {idle[0]!r}: expected it in prompt or response")
        return self

    def expand(self, kind: str) -> Iterator[BehaviourRow]:
        """Yield the rows: every combination, or twelve that are evenly chosen among more."""
        combinations = list(product(*self.slots.values()))
        for number, place in enumerate(sample_evenly(len(combinations), MAX_ROWS_PER_TEMPLATE)):
            values = dict(zip(self.slots, combinations[place], strict=True))
            yield BehaviourRow(
                kind=kind,
                row_id=f"{kind}/{self.id}" + (f"/{number}" if values else ""),
                template=self.id,
                half=half_of(kind, self.pair or self.id),
                wanted=self.wanted,
                prompt=fill(self.prompt, values),
                response=fill(self.response, values),
                category=self.category,
                facets={} if self.topic is None else {"topic": self.topic},
                pair=self.pair,
            )


class BehaviourFile(BaseModel):
    """All templates of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Name
    """The file is named after it."""
    about: Text
    """What is tested, in a line."""
    templates: Annotated[tuple[BehaviourTemplate, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _require_distinct_ids(self) -> Self:
        seen: set[str] = set()
        for place, template in enumerate(self.templates):
            if template.id in seen:
                raise ValueError(f"templates.{place}.id: {template.id!r} is there twice: expected an id of its own")
            seen.add(template.id)
        return self

    def expand(self) -> list[BehaviourRow]:
        """Return the rows of all templates, in order."""
        return [row for template in self.templates for row in template.expand(self.kind)]


def read_behaviour_file(file: Path | Traversable) -> BehaviourFile:
    """Return the templates of a file.

    Raises:
        RecordError: it cannot be read, or is not of this form; names file, line and template, and what was expected.
    """
    found = read_checked(file, BehaviourFile, texts=_TEXTS)
    if f"{found.kind}.yaml" != file.name:
        raise RecordError(f"{file}: kind: expected the name of the file without .yaml, got {found.kind!r}")
    return found


def read_behaviour_files(directory: Path | Traversable) -> list[BehaviourFile]:
    """Return the files KIND.yaml of a directory, by name.

    Raises:
        RecordError: it cannot be read, or one of them cannot be used.
    """
    try:
        files = [file for file in directory.iterdir() if file.name.endswith(".yaml")]
    except OSError as error:
        raise RecordError(f"{directory}: cannot be read: {error.strerror}") from error
    return [read_behaviour_file(file) for file in sorted(files, key=lambda file: file.name)]


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its slots filled; each must be among the values."""
    return _SLOT.sub(lambda found: values[found[1]], text)
