"""Outputs of models: an assessment with its coverage, a rewrite, or the failure of one item."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from protector_models.moderation.conversation import Exchange, UnreadPart
from protector_models.moderation.stages import StageStatus

Score = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""A score in [0, 1]; for harmfulness 1 means harmful."""

UNSPECIFIED = "unspecified"
"""The category of harm of which no score says what it is: a guard wrote no category, or one that nobody knows, or the
detector knows none. It has the policy's default texts and methods unless the policy has some of its own for it."""


def is_empty(value: object) -> bool:
    """Tell whether a field has nothing to say: it is then left out, so that what has none keeps its bytes."""
    return value is None or value == {}


class ValueModel(BaseModel):
    """Something that models or Weir put out: a value, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class UnreadImage(ValueModel):
    """An image that a detector knows nothing of."""

    position: Annotated[int, Field(ge=0)]
    """Among all images of the conversation, from 0."""
    reason: str
    """Why, such as "FetchTimeout"."""


class Coverage(ValueModel):
    """How much of an exchange a detector read."""

    characters_evaluated: Annotated[int, Field(ge=0)]
    """Characters of prompt, images and response that the model read, or that carry no words, such as white space."""
    characters_total: Annotated[int, Field(ge=0)]
    """Characters of the question, that is prompt and image texts, and of the response."""
    images_evaluated: Annotated[int, Field(ge=0)]
    """Images whose text was judged; what of that text was not read shows in the characters."""
    images_total: Annotated[int, Field(ge=0)]
    unread_images: tuple[UnreadImage, ...] = ()
    """The other images, in order, each with the reason."""
    unread_parts: tuple[UnreadPart, ...] = ()
    """Parts of the conversation that are neither text nor image, such as audio, in order. Nothing reads them."""
    unread_parts_total: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _require_reasons(self) -> Self:
        if len(self.unread_images) != self.images_total - self.images_evaluated:
            raise ValueError(
                f"unread_images: expected {self.images_total} - {self.images_evaluated}, got {len(self.unread_images)}"
            )
        if len(self.unread_parts) != self.unread_parts_total:
            raise ValueError(f"unread_parts: expected {self.unread_parts_total}, got {len(self.unread_parts)}")
        return self

    @classmethod
    def of(cls, exchange: Exchange, *, characters_evaluated: int, characters_total: int) -> Self:
        """Return the coverage of an exchange by a detector that judges `exchange.question()` and the response.

        Args:
            exchange: says which images were not read, and why, and which parts nothing reads.
            characters_evaluated: of question and response.
            characters_total: of question and response.
        """
        unread = tuple(
            UnreadImage(position=position, reason=image.unread_reason)
            for position, image in enumerate(exchange.images)
            if image.unread_reason is not None
        )
        return cls(
            characters_evaluated=characters_evaluated,
            characters_total=characters_total,
            images_evaluated=len(exchange.images) - len(unread),
            images_total=len(exchange.images),
            unread_images=unread,
            unread_parts=exchange.unread_parts,
            unread_parts_total=len(exchange.unread_parts),
        )

    def is_complete(self) -> bool:
        """Tell whether everything was read."""
        return (
            self.characters_evaluated >= self.characters_total
            and self.images_evaluated >= self.images_total
            and not self.unread_parts
        )


class ScoredPiece(ValueModel):
    """A piece of a response, such as a sentence, as the detector judges it in its company."""

    start: Annotated[int, Field(ge=0)]
    """Its first character in the response."""
    end: Annotated[int, Field(ge=1)]
    """One past its last character."""
    harmfulness: Score
    categories: dict[str, Score]

    @model_validator(mode="after")
    def _require_characters(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"end: expected more than start, {self.start}, got {self.end}")
        return self


MAX_SCORED_PIECES = 16
"""Of one response, those that score highest."""


class Assessment(ValueModel):
    """The detector's scores for one exchange."""

    harmfulness: Score
    """How surely the response is harmful; 1 means harmful. Rounded to 4 decimals."""
    categories: dict[str, Score]
    """A score for each category the detector knows."""
    detector: str
    """The detector that scored, "name@revision"."""
    judged_by: str | None = None
    """In a cascade: the one of its detectors whose scores these are, "name@revision". None: there is no cascade."""
    truncated: bool
    """True if some text was not read; coverage says how much."""
    coverage: Coverage
    languages: tuple[str, ...] = ()
    """The languages of passages that were not read because the detector does not know them: ISO 639 codes, sorted;
    "und" for one that could not be named."""
    pieces: tuple[ScoredPiece, ...] | None = None
    """The pieces of the response that make it harmful, in their order: the worst one, and others that come near; at
    most 16. None: the detector judges responses as a whole."""
    needs: Annotated[dict[str, Score], Field(exclude_if=is_empty)] = Field(default_factory=dict)
    """Of a text alone, how surely the person who wrote it, or speaks of somebody in it, needs help of a kind: "danger",
    "abuse", "grief", "eating_disorder". Empty, and absent, of answers, and where the detector knows no needs."""
    carelessness: Annotated[Score | None, Field(exclude_if=is_empty)] = None
    """Of an answer, how surely it passes over a person in need or makes light of it; beside anything else it says
    nothing. Absent below 0.1, and where the detector does not judge it."""

    def failing(self) -> float:
        """Return how surely the response would fail a person in danger: it is harmful, or careless."""
        return max(self.harmfulness, self.carelessness or 0.0)

    @model_validator(mode="after")
    def _require_agreement(self) -> Self:
        if self.truncated != (self.coverage.characters_evaluated < self.coverage.characters_total):
            raise ValueError(
                f"truncated: expected it to agree with the coverage of characters, got {self.truncated} with "
                f"{self.coverage.characters_evaluated} of {self.coverage.characters_total}"
            )
        return self

    def status(self) -> StageStatus:
        """Tell whether the detector read everything."""
        return StageStatus.COMPLETE if self.coverage.is_complete() else StageStatus.PARTIAL

    def top_category(self) -> str:
        """Return the category with the highest score, of equals the first by name.

        `UNSPECIFIED` where the scores name none: there are none, all are 0, or several are all equal.
        """
        scores = set(self.categories.values())
        if not scores or scores == {0.0} or (len(scores) == 1 and len(self.categories) > 1):
            return UNSPECIFIED
        return min(self.categories, key=lambda name: (-self.categories[name], name))


class Rewrite(ValueModel):
    """A detoxifier's replacement for one response: the whole text, whatever of it was changed."""

    text: Annotated[str, Field(min_length=1)]
    detoxifier: str
    """The detoxifier that wrote it, "name@revision"."""


class ItemFailure(ValueModel):
    """One item that a model could not handle, as a value: the others of its batch are not touched by it."""

    error: str
    """A short class of error, such as "InvalidText"."""
    message: str
    """What was wrong and what was expected. Never holds text of a prompt or a response."""
