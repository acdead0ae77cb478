"""What rows are composed of: short harmful and harmless pieces, polite frames, and ordinary sentences by topic."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from itertools import product
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from protector_models.evaluation.behaviours.behaviour_file import Name, SlotName, Text, fill
from protector_models.evaluation.behaviours.behaviour_row import BehaviourRow, Half
from protector_models.evaluation.behaviours.checked_yaml import read_checked
from protector_models.moderation.even_sampling import sample_evenly
from protector_models.moderation.harm_categories import HarmCategory

ALONE = "alone"
"""The kind of the rows that are one piece and nothing else."""
_PIECES = resources.files("protector_models.evaluation.behaviours").joinpath("pieces")
_TEXTS = ("prompt", "text", "opening", "closing", "sentences")
_MAX_SENTENCES_PER_TEMPLATE = 12


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Name
    half: Half


class Piece(_Written):
    """A text of a sentence or two that is harmful, or harmless, by itself."""

    category: HarmCategory | None = None
    """None: it is harmless."""
    prompt: Text
    text: Text

    def to_row(self, kind: str, manner: str, response: str, facets: Mapping[str, str]) -> BehaviourRow:
        """Return the row in which the piece stands in some company, under its own prompt: nothing else is changed.

        Args:
            kind: of the row.
            manner: what tells it from the other rows of this kind and piece.
            response: the answer.
            facets: what tables are made by.
        """
        return BehaviourRow(
            kind=kind,
            row_id=f"{kind}/{self.id}/{manner}",
            template=self.id,
            half=self.half,
            wanted="allow" if self.category is None else "act",
            prompt=self.prompt,
            response=response,
            category=self.category,
            facets=facets,
            alone=f"{ALONE}/{self.id}",
            focus=self.text,
        )


class Frame(_Written):
    """What a polite assistant says before and after an answer."""

    opening: str
    """May be empty."""
    closing: str
    """May be empty."""

    def around(self, text: str) -> str:
        """Return the text in the frame."""
        return " ".join(part for part in (self.opening, text, self.closing) if part)


class Topic(_Written):
    """Ordinary sentences about one thing."""

    prompt: Text
    slots: dict[SlotName, Annotated[tuple[Text, ...], Field(min_length=1)]]
    sentences: Annotated[tuple[Text, ...], Field(min_length=1)]

    @cached_property
    def texts(self) -> list[list[str]]:
        """The sentences that each template gives, evenly chosen where they are more than twelve."""
        return [self._expand(template) for template in self.sentences]

    def _expand(self, template: str) -> list[str]:
        used = [name for name in self.slots if f"{{{name}}}" in template]
        combinations = list(product(*(self.slots[name] for name in used)))
        chosen = (combinations[place] for place in sample_evenly(len(combinations), _MAX_SENTENCES_PER_TEMPLATE))
        texts = (fill(template, dict(zip(used, values, strict=True))) for values in chosen)
        return [text[0].upper() + text[1:] for text in texts]


class _Pieces(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    pieces: tuple[Piece, ...]


class _Frames(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: tuple[Frame, ...]


class _Topics(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    topics: tuple[Topic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything of one half: a row never has parts of two."""

    half: Half
    harmful: tuple[Piece, ...]
    harmless: tuple[Piece, ...]
    frames: tuple[Frame, ...]
    topics: tuple[Topic, ...]

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The harmful ones, then the harmless ones."""
        return self.harmful + self.harmless


@cache
def load_material(half: Half) -> Material:
    """Return what comes with Weir for one half.

    Raises:
        RecordError: a file is broken.
    """
    harmful, harmless = (
        read_checked(_PIECES / f"{name}.yaml", _Pieces, texts=_TEXTS).pieces for name in ("harmful", "harmless")
    )
    frames = read_checked(_PIECES / "frames.yaml", _Frames, texts=_TEXTS).frames
    topics = read_checked(_PIECES / f"topics_{half}.yaml", _Topics, texts=_TEXTS).topics
    return Material(
        half=half,
        harmful=tuple(piece for piece in harmful if piece.half == half),
        harmless=tuple(piece for piece in harmless if piece.half == half),
        frames=tuple(frame for frame in frames if frame.half == half),
        topics=tuple(topic for topic in topics if topic.half == half),
    )
