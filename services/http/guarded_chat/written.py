"""What an MLLM wrote: of its completions and chunks what is read here, and nothing else of them goes on."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from protector_models.moderation.errors import UnansweredError

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]

_MAX_CALLS = 128
"""Of tools, in one answer."""
_REASONS: Mapping[str, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

WrittenT = TypeVar("WrittenT", bound=BaseModel)


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True)


class WrittenFunction(_Written):
    """The name of a function, and what it is called with, or more of both."""

    name: str | None = None
    arguments: str | None = None


class WrittenCall(_Written):
    """The call of a tool, or more of one."""

    index: Annotated[int, Field(ge=0, lt=_MAX_CALLS)] = 0
    function: WrittenFunction = WrittenFunction()

    @property
    def num_characters(self) -> int:
        """Characters of the function's name and arguments."""
        return len(self.function.name or "") + len(self.function.arguments or "")


class WrittenMessage(_Written):
    """An answer, or more of one."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[WrittenCall], Field(max_length=_MAX_CALLS)] | None = None


class TokenLogprob(_Written):
    """A token of an answer, and the logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[None] = []

    @classmethod
    def of(cls, written: Mapping[str, JsonValue]) -> "TokenLogprob":
        """Return what of a written token goes on: what might have stood in its place does not."""
        return cls.model_validate({name: written.get(name) for name in ("token", "logprob", "bytes")})


class WrittenChoice(_Written):
    """One answer, or more of one."""

    index: Annotated[int, Field(ge=0)] = 0
    message: WrittenMessage = WrittenMessage()
    delta: WrittenMessage = WrittenMessage()
    finish_reason: str | None = None
    logprobs: JsonValue = None


class _TokenDetails(_Written):
    audio_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class Usage(_Written):
    """How many tokens there were."""

    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: _TokenDetails | None = None
    completion_tokens_details: _TokenDetails | None = None


class Written(_Written):
    """A completion, or a chunk of one."""

    choices: list[WrittenChoice] = []
    usage: Usage | None = None


def read_written(written: Mapping[str, JsonValue], *, num_choices: int) -> Written:
    """Return what is read of a completion or a chunk.

    Raises:
        UnansweredError: it is none, or has other choices than were asked for.
    """
    try:
        read = Written.model_validate(written)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnansweredError(f"InvalidAnswer: {place or 'answer'}: {first['type']}") from None
    if any(choice.index >= num_choices for choice in read.choices):
        raise UnansweredError(f"InvalidAnswer: expected choices below {num_choices}")
    return read


def name_reason(written: str, *, has_calls: bool) -> FinishReason:
    """Return why an answer ends, in OpenAI's words; what is none of them is `stop`."""
    reason = _REASONS.get(written, "stop")
    return "stop" if reason == "tool_calls" and not has_calls else reason


def name_call(*, request_id: str, choice: int, position: int) -> str:
    """Return the id of a call. The one that the model wrote goes nowhere: a sentence may stand in it."""
    return f"call_{request_id}_{choice}_{position}"


def find_logprobs(written: JsonValue, text: str) -> list[TokenLogprob] | None:
    """Return the tokens of a text with their probabilities; None where there are none, or those of another text."""
    tokens = written.get("content") if isinstance(written, dict) else None
    if not isinstance(tokens, list):
        return None
    try:
        found = [TokenLogprob.of(token) for token in tokens if isinstance(token, dict)]
    except ValidationError:
        return None
    if "".join(token.token for token in found) != text:
        return None
    # Bytes are another way of saying a text.
    return [token.model_copy(update={"bytes": list(token.token.encode("utf-8"))}) for token in found]
