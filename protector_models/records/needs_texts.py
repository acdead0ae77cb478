"""The texts that the needs head learns from, written for it: `protector_models/records/needs`."""

from importlib import resources
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Need = Literal["danger", "abuse", "grief", "eating_disorder"]

_FOLDER = resources.files("protector_models.records").joinpath("needs")


class NeedsText(BaseModel):
    """What a user may write."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Annotated[str, Field(min_length=1)]
    needs: tuple[Need, ...]
    """What the person, or somebody they speak of, needs help with."""
    kind: str
    """How, or about what, it was written."""


class AnswerText(BaseModel):
    """What may be answered to somebody in need."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Annotated[str, Field(min_length=1)]
    careless: bool


RowT = TypeVar("RowT", bound=BaseModel)


def load_needs_texts() -> list[NeedsText]:
    """Return what users may write, in order."""
    return _load("texts.jsonl", NeedsText)


def load_answer_texts() -> list[AnswerText]:
    """Return what may be answered, in order."""
    return _load("answers.jsonl", AnswerText)


def _load(file: str, form: type[RowT]) -> list[RowT]:
    lines = _FOLDER.joinpath(file).read_text(encoding="utf-8").splitlines()
    return [form.model_validate_json(line) for line in lines]
