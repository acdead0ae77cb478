"""Completions and chunks as they go out."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.http.guarded_chat.judgements import ChatModeration
from services.http.guarded_chat.written import FinishReason, TokenLogprob, Usage


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CalledFunction(_Answer):
    """The name of a function, and what it is called with, in JSON."""

    name: str
    arguments: str


class ToolCall(_Answer):
    """The call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ToolCallDelta(ToolCall):
    """The call of a tool; in a stream it goes out whole."""

    index: int


class ChatMessage(_Answer):
    """An answer."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None
    tool_calls: Annotated[list[ToolCall], Field(exclude_if=lambda calls: not calls)] = []


class Logprobs(_Answer):
    """The tokens of an answer that goes out as it was written."""

    content: list[TokenLogprob]
    refusal: None = None


class ChatChoice(_Answer):
    """One of the answers."""

    index: int
    message: ChatMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None = None


class Pace(_Answer):
    """How long a stream was held back, in milliseconds."""

    first_written_ms: int | None
    """From the request to the first text of the MLLM; None: it wrote none."""
    first_released_ms: int | None
    """From the request to the first text that went out; None: none did."""
    num_pieces: int
    """Pieces that went out."""
    mean_added_ms: float | None
    """From the last character of a piece, as it was written, to the moment at which the piece went out."""
    max_added_ms: float | None


class ChatCompletion(_Answer):
    """The answers to a chat."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Annotated[Usage | None, Field(exclude_if=lambda usage: usage is None)] = None
    moderation: ChatModeration


class Delta(_Answer):
    """More of an answer."""

    role: Annotated[Literal["assistant"] | None, Field(exclude_if=lambda role: role is None)] = None
    content: Annotated[str | None, Field(exclude_if=lambda text: text is None)] = None
    refusal: Annotated[str | None, Field(exclude_if=lambda text: text is None)] = None
    tool_calls: Annotated[list[ToolCallDelta], Field(exclude_if=lambda calls: not calls)] = []


class ChunkChoice(_Answer):
    """More of one of the answers, or its end."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: None = None


class ChatCompletionChunk(_Answer):
    """More of the answers to a chat."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Annotated[Usage | None, Field(exclude_if=lambda usage: usage is None)] = None
    moderation: Annotated[ChatModeration | None, Field(exclude_if=lambda found: found is None)] = None
    weir: Annotated[Pace | None, Field(exclude_if=lambda pace: pace is None)] = None
