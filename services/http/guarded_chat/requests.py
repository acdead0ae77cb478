"""What may be asked of the guarded chat: OpenAI's request, as far as everything in its answer can be judged."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.messages.dialects import layers_of, role_of
from protector_models.moderation.one_turn import ANY_TIME
from protector_models.moderation.ports import ChatModel
from protector_models.moderation.wire.codec import DecodedEvent, decode_json
from services.http.refusals import RefusedRequestError

_OWN_MODEL = "weir"
_MAX_STOPS = 16
_JUDGED_LATER = "-"
"""Stands for the answer until there is one."""
_NOT_ASKED_ALONG = frozenset({"model", "stream", "stream_options", "moderation", "store"})
"""Fields that say something to Weir, and nothing to the MLLM."""


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class StreamOptions(_Asked):
    """How an answer is streamed."""

    include_usage: bool | None = None
    """Whether one more chunk tells how many tokens there were."""
    include_obfuscation: bool | None = None
    """Taken, and without effect: pieces of an answer are sentences, whose lengths tell nothing of single words."""


class ModerationMode(_Asked):
    """What becomes of what is flagged."""

    mode: Literal["score", "block"]
    """`score`: what the policy says, and it is reported. `block`: it is withheld, whatever the policy says."""


class ModerationModes(_Asked):
    """What is judged beyond what the policy says, and what follows."""

    input: ModerationMode | None = None
    """Of what the user says. Null: nothing beyond the policy."""
    output: ModerationMode | None = None
    """Of what is answered. Null: nothing beyond the policy, which judges every answer."""


class ModerationWish(_Asked):
    """More moderation than the policy asks for; there is no less."""

    model: str
    """As in `/v1/moderations`."""
    policy: ModerationModes | None = None
    """Null: both are judged, and it is reported."""


class FunctionTool(_Asked):
    """A function that the MLLM may call."""

    type: Literal["function"]
    function: dict[str, JsonValue]


Share = Annotated[float, Field(ge=-2, le=2)]


class ChatCompletionRequest(_Asked):
    """A conversation to go on with. What stands here as any JSON is for the MLLM to look at."""

    messages: Annotated[list[dict[str, JsonValue]], Field(min_length=1)]
    """Oldest first; the last one is not the assistant's."""
    model: str | None = None
    """The MLLM by the name that is configured, or "weir"."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    """How many answers."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Of an answer; no more than the operator allows."""
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """The same, by its newer name."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Share | None = None
    presence_penalty: Share | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(max_length=_MAX_STOPS)] | None = None
    logprobs: bool | None = None
    """Not in a stream."""
    top_logprobs: Annotated[int, Field(ge=0, le=0)] | None = None
    """None: nobody judges what an answer does not say."""
    response_format: dict[str, JsonValue] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=1_000)] | None = None
    tool_choice: str | dict[str, JsonValue] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[Literal["text"]] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    store: Literal[False] | None = None
    moderation: ModerationWish | None = None

    @property
    def num_choices(self) -> int:
        """How many answers are wanted."""
        return self.n or 1

    @property
    def includes_usage(self) -> bool:
        """Whether a stream tells how many tokens there were."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def input_mode(self) -> Literal["score", "block"] | None:
        """What is wanted of the input beyond the policy."""
        if self.moderation is None:
            return None
        modes = self.moderation.policy
        if modes is None:
            return "score"
        return modes.input.mode if modes.input else None

    @property
    def blocks_output(self) -> bool:
        """Whether an answer that is flagged is to be withheld."""
        modes = self.moderation.policy if self.moderation else None
        return modes is not None and modes.output is not None and modes.output.mode == "block"

    @property
    def is_of_form(self) -> bool:
        """Whether the answer has a form that a text of the policy has not."""
        return self.response_format is not None and self.response_format.get("type") != "text"

    @property
    def declared(self) -> frozenset[str]:
        """Names of parameters that its tools have."""
        return frozenset(_properties(self.model_dump(mode="json", include={"tools"})))

    def to_model(self) -> dict[str, JsonValue]:
        """Return what the MLLM is asked."""
        return self.model_dump(mode="json", exclude=set(_NOT_ASKED_ALONG), exclude_none=True)

    def to_stream(self) -> dict[str, JsonValue]:
        """Return what the MLLM is asked where it streams: most tell of tokens only then when they are asked to."""
        return (
            {**self.to_model(), "stream_options": {"include_usage": True}} if self.includes_usage else self.to_model()
        )


def _properties(schema: JsonValue) -> Iterator[str]:
    """Yield the names of properties in a JSON Schema, and in all that is inside it."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties" and isinstance(value, dict):
                yield from value
            yield from _properties(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _properties(item)


def require_answerable(asked: ChatCompletionRequest, chat: ChatModel, *, max_choices: int) -> None:
    """Refuse what cannot be answered, or not so that all of it is judged.

    Raises:
        RefusedRequestError: it is that.
    """
    if asked.model not in {None, _OWN_MODEL, chat.name}:
        raise RefusedRequestError("model_not_found", f"model: expected {_OWN_MODEL!r} or {chat.name!r}", "model")
    if asked.num_choices > max_choices:
        raise RefusedRequestError("invalid_value", f"n: expected at most {max_choices}, got {asked.n}", "n")
    if asked.stream and asked.logprobs:
        raise RefusedRequestError("invalid_value", "logprobs: expected false where stream is true", "logprobs")
    if asked.stream_options is not None and not asked.stream:
        raise RefusedRequestError("invalid_value", "stream_options: expected null where stream is false")
    if role_of(layers_of(asked.messages[-1])) == "assistant":
        raise RefusedRequestError(
            "invalid_value", "messages: expected the last message to be another one's than the assistant's", "messages"
        )
    if chat.fields is None:
        return
    heeded = {"messages", *chat.fields}
    for name, value in asked.to_model().items():
        if name not in heeded and not (name == "n" and value == 1):
            raise RefusedRequestError("invalid_value", f"{name}: this model does not heed it", name)


def to_event(messages: list[dict[str, JsonValue]], *, name: str, tenant: str) -> DecodedEvent:
    """Return the conversation as it is judged, with something in the answer's place.

    Raises:
        RefusedRequestError: a message is none.
    """
    written: Mapping[str, JsonValue] = {
        "schema_version": 1,
        "event_id": name,
        "conversation_id": name,
        "tenant": tenant,
        "occurred_at": ANY_TIME.isoformat(),
        "messages": list(messages),
        "response": _JUDGED_LATER,
    }
    try:
        return decode_json(dict(written))
    except InvalidEventError as error:
        raise RefusedRequestError("invalid_value", str(error), "messages") from None


def with_answer(event: ConversationEvent, text: str, *, name: str) -> ConversationEvent:
    """Return the conversation with an answer."""
    return event.model_copy(update={"event_id": name, "response": text})
