"""What comes out: assessments by the detector, verdicts, failures, and the moderated conversation on the wire."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from protector_models.moderation.conversation import Exchange, Identifier, OccurredAt, SchemaVersion

Score = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""A score in [0, 1]; for harmfulness 1 means harmful."""


class _ValueModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Action(StrEnum):
    """What is done with a response, mildest first."""

    ALLOW = "allow"
    REWRITE = "rewrite"
    REVIEW = "review"
    BLOCK = "block"


class RewriteMethod(StrEnum):
    """How a text that stands in for a harmful response is made; the one that keeps most of the response first."""

    EDIT = "edit"
    """The edit model changes toxic wording, within the harmful sentences only."""
    OMIT = "omit"
    """Harmful sentences give way to the policy's omission sentence; the rest is kept. Needs no model."""
    GENERATE = "generate"
    """A generative language model writes the whole answer anew, given the prompt."""
    COMPLETE = "complete"
    """The policy's own safe completion; nothing of the response is kept. Needs no model."""


class Stage(StrEnum):
    """Where in the path a conversation is, or where it failed."""

    DECODE = "decode"
    IMAGES = "images"
    GENERATE = "generate"
    ASSESS = "assess"
    REWRITE = "rewrite"
    VERIFY = "verify"
    PUBLISH = "publish"


class StageStatus(StrEnum):
    """How far a stage got. `skipped`: it was not needed. `failed` never means safe."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    SKIPPED = "skipped"
    FAILED = "failed"


class UnreadImage(_ValueModel):
    """An image that a detector knows nothing of."""

    position: Annotated[int, Field(ge=0)]
    """Among all images of the conversation, from 0."""
    reason: str
    """Why, such as "FetchTimeout"."""


class Coverage(_ValueModel):
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

    @model_validator(mode="after")
    def _require_reasons(self) -> Self:
        if len(self.unread_images) != self.images_total - self.images_evaluated:
            raise ValueError(
                f"unread_images: expected {self.images_total} - {self.images_evaluated}, got {len(self.unread_images)}"
            )
        return self

    @classmethod
    def of(cls, exchange: Exchange, *, characters_evaluated: int, characters_total: int) -> Self:
        """Return the coverage of an exchange by a detector that judges `exchange.question()` and the response.

        Args:
            exchange: says which images were not read, and why.
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
        )

    def is_complete(self) -> bool:
        """Tell whether everything was read."""
        return self.characters_evaluated >= self.characters_total and self.images_evaluated >= self.images_total


class Assessment(_ValueModel):
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

    def top_category(self) -> str | None:
        """Return the category with the highest score (the first by name among equals), or None without categories."""
        if not self.categories:
            return None
        return min(self.categories, key=lambda name: (-self.categories[name], name))


class Rewrite(_ValueModel):
    """A detoxifier's replacement for one response: the whole text, whatever of it was changed."""

    text: Annotated[str, Field(min_length=1)]
    detoxifier: str
    """The detoxifier that wrote it, "name@revision"."""


class ItemFailure(_ValueModel):
    """One item that a model could not handle, as a value: the others of its batch are not touched by it."""

    error: str
    """A short class of error, such as "InvalidText"."""
    message: str
    """What was wrong and what was expected. Never holds text of a prompt or a response."""


class ImageStatus(StrEnum):
    """How an image ended."""

    READ = "read"
    UNREAD = "unread"


class ImageFinding(_ValueModel):
    """What became of one image of a conversation. Never holds the text that stands in it."""

    status: ImageStatus
    reason: str | None = None
    """Why it is unread, such as "FetchTimeout"; None where it was read."""
    sha256: str | None = None
    """Of its bytes, in hexadecimal; None where they were not had."""
    perceptual_hash: str | None = None
    """16 hexadecimal characters; None where it was not read."""
    text_characters: Annotated[int, Field(ge=0)] | None = None
    """Characters of the text in it; None where it was not read."""
    categories: dict[str, Score] = Field(default_factory=dict)
    """A score for each category that the image classifier knows; none without a classifier."""
    known_as: str | None = None
    """The entry of the list of known images that it equals or resembles; None where there is none."""


class EvaluationStatus(_ValueModel):
    """How far each stage got for one conversation."""

    images: StageStatus = StageStatus.SKIPPED
    """Reading the images. `partial`: some were not read; `failed`: none was."""
    generation: StageStatus = StageStatus.SKIPPED
    """The MLLM answering an event without a response."""
    assessment: StageStatus
    """The detector reading the response. `partial`: coverage says what was not read."""
    rewrite: StageStatus = StageStatus.SKIPPED
    """Making a text that may be delivered. `failed`: none passed, not even the policy's own, and none is."""
    verification: StageStatus = StageStatus.SKIPPED
    """The detector reading the text that is delivered. `failed`: it passed none."""


class Verdict(_ValueModel):
    """What was decided for one response, and why. Holds no wall-clock time: a replay gives equal bytes."""

    action: Action
    category: str | None
    """The category that led to the action; None where nothing was found."""
    response: str | None
    """What may be delivered. None: nothing may be."""
    original_response: str | None = None
    """The response before moderation; only where the configuration asks for it and it is not what may be delivered."""
    assessment: Assessment | None
    """None only where the assessment failed and the policy says what follows."""
    rewrite_assessment: Assessment | None = None
    """Of the text that is delivered in place of the response, the policy's own included; None where there is none."""
    rewrite_method: RewriteMethod | None = None
    """How the text that is delivered in place of the response was made; None where there is none."""
    rewrite_refused_reason: str | None = None
    """Why the last text before the delivered one, or before giving up, was not released: the error of a failure, such
    as "EmptyRewrite" or "NothingToEdit", or "StillHarmful" or "NotFullyRead". None where the first one was released."""
    images: tuple[ImageFinding, ...] = ()
    """What became of each image of the conversation, in order."""
    evaluation_status: EvaluationStatus
    shadow_action: Action | None = None
    """In shadow mode: the action that would have been taken."""
    policy_version: str
    model_revisions: dict[str, str]
    """For each model that took part ("images", "detector", "detoxifier", "mllm"): "name@revision"."""
    cached: bool
    """True if every model output came from the cache."""


class EventIdentity(_ValueModel):
    """Whose verdict it is."""

    schema_version: SchemaVersion = 1
    event_id: Identifier
    conversation_id: Identifier
    tenant: Identifier
    occurred_at: OccurredAt


class ModeratedConversation(Verdict, EventIdentity):
    """A verdict with the identity of its event: one record downstream, one line of JSONL."""


class Failure(_ValueModel):
    """An event that ended without a verdict. It goes to the dead letters; it is never delivered and never "safe"."""

    stage: Stage
    error: str
    """A short class of error, such as "InvalidEvent" or "NoMllmConfigured"."""
    message: str
    """What was wrong and what was expected. Never holds text of a prompt or a response."""


Outcome = Verdict | Failure
"""How an event ends."""
