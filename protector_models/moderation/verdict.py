"""Verdicts, failures, and the moderated conversation as it goes out on the wire."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from protector_models.moderation.conversation import Identifier, OccurredAt, SchemaVersion
from protector_models.moderation.model_outputs import Assessment, Score, ValueModel
from protector_models.moderation.stages import Stage, StageStatus


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


class ImageStatus(StrEnum):
    """How an image ended."""

    READ = "read"
    UNREAD = "unread"


class ImageFinding(ValueModel):
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
    is_cut: bool = False
    """The end of its file is missing, and at most a hundredth of the picture with it: read as programs show it."""


class PromptFinding(ValueModel):
    """What was found in the request: the last user turn with what stands in the images, judged as a text by itself."""

    action: Action | None
    """What the rules ask for. None where the detector failed on it, and the policy has no action for that."""
    category: str | None
    """The category that led to the action; None where nothing was found."""
    assessment: Assessment | None
    """Its pieces are of the request. None where the detector failed on it."""
    status: StageStatus
    """How far it was read."""
    enforced: bool
    """Whether the MLLM was not asked because of it; the action of the verdict is then the one that follows."""


class NeedsFinding(ValueModel):
    """What was found of the person's needs in the last user turns, each read as a text by itself."""

    scores: dict[str, Score]
    """By need, the highest of any of the turns. Empty where the detector failed on all of them."""
    found: str | None
    """The need that chose the text; None where none did."""
    completion: str | None
    """The text of the policy that stands for it, by its name in `safe_completions`; None where no need chose one."""
    status: StageStatus
    """How far the turns were read."""


class ShadowDecision(ValueModel):
    """What another policy, in shadow, says of the same assessment. Nothing follows from it."""

    policy_version: str
    """That policy, "version@digest" of its content."""
    action: Action | None
    """What its rules ask for; a rewrite is not tried. None where the event would end without a verdict under it."""
    category: str | None
    """The category that led to the action; None where nothing was found."""


def is_none(value: object) -> bool:
    """Tell whether a field has nothing to say: it is then left out, so that verdicts without it have the same bytes."""
    return value is None


class EvaluationStatus(ValueModel):
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


class Verdict(ValueModel):
    """What was decided for one response, and why. Holds no wall-clock time: a replay gives equal bytes."""

    action: Action
    category: str | None
    """The category that led to the action, `UNSPECIFIED` where none is known; None where nothing was found."""
    response: str | None
    """What may be delivered. None: nothing may be."""
    original_response: str | None = None
    """The response before moderation; only where the configuration asks for it and it is not what may be delivered."""
    assessment: Assessment | None
    """None where the assessment failed and the policy says what follows, and where there is no response to assess,
    because the request was kept from the MLLM."""
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
    """The policy that decided, "version@digest" of its content."""
    model_revisions: dict[str, str]
    """For each model that took part ("images", "detector", "detoxifier", "mllm"): "name@revision" of the one that made
    the outputs in here, or that was asked for them and failed. Both, with ", " between them, where the model was
    replaced while this was moderated."""
    cached: bool
    """True if every model output came from the cache."""
    prompt: Annotated[PromptFinding | None, Field(exclude_if=is_none)] = None
    """What was found in the request; absent where the policy does not ask for it (`judge_prompt`), or nobody asked
    anything."""
    needs: Annotated[NeedsFinding | None, Field(exclude_if=is_none)] = None
    """What the person may need; absent where nothing could follow from it, because the response is neither harmful nor
    careless, where the policy does not look at it (`needs`), and where nobody said anything or the detector knows no
    needs."""
    shadow_policy: Annotated[ShadowDecision | None, Field(exclude_if=is_none)] = None
    """What the shadow policy says; absent where none is configured, or there is no response to judge."""


class EventIdentity(ValueModel):
    """Whose verdict it is."""

    schema_version: SchemaVersion = 1
    event_id: Identifier
    conversation_id: Identifier
    tenant: Identifier
    occurred_at: OccurredAt


class ModeratedConversation(Verdict, EventIdentity):
    """A verdict with the identity of its event: one record downstream, one line of JSONL."""


class Failure(ValueModel):
    """An event that ended without a verdict. It goes to the dead letters; it is never delivered and never "safe"."""

    stage: Stage
    error: str
    """A short class of error, such as "InvalidEvent" or "NoMllmConfigured"."""
    message: str
    """What was wrong and what was expected. Never holds text of a prompt or a response."""


Outcome = Verdict | Failure
"""How an event ends."""
