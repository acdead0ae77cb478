"""Answers of chat endpoints: the completion in the body of a response."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from protector_models.moderation.model_outputs import ItemFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionToken:
    """One token of what the model said."""

    text: str
    alternatives: Sequence[tuple[str, float]]
    """The likeliest tokens in its place, itself mostly among them, each with the logarithm of its probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the model said."""

    text: str
    """May be empty."""
    refusal: str
    """Where a model that declines says so; empty where it did not."""
    finish_reason: str | None
    """Why it stopped, in the API's words, such as "stop" or "length"."""
    tokens: Sequence[CompletionToken] = ()
    """What it said token by token; empty where nobody asked for `logprobs` or the endpoint gives none."""


class _Alternative(BaseModel):
    token: str
    logprob: float


class _Token(_Alternative):
    top_logprobs: list[_Alternative] = []


class _LogProbabilities(BaseModel):
    content: list[_Token]


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: Any = None


class _Answer(BaseModel):
    """What is read of an answer; everything else in it is ignored."""

    choices: list[_Choice]


def read_completion(body: bytes) -> Completion | ItemFailure:
    """Return the completion in the body of a response of status 200; an `ItemFailure` where there is none."""
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return ItemFailure(error="InvalidAnswer", message=f"{place or 'body'}: {first['type']}")
    if not answer.choices:
        return ItemFailure(error="EmptyAnswer", message="expected at least one choice")
    choice = answer.choices[0]
    return Completion(
        text=choice.message.content or "",
        refusal=choice.message.refusal or "",
        finish_reason=choice.finish_reason,
        tokens=_read_tokens(choice.logprobs),
    )


def _read_tokens(logprobs: object) -> list[CompletionToken]:
    """Return the tokens in the form of the chat API; none for any other form, since who needs none must not fail."""
    try:
        content = _LogProbabilities.model_validate(logprobs).content
    except ValidationError:
        return []
    return [
        CompletionToken(text=token.token, alternatives=[(other.token, other.logprob) for other in token.top_logprobs])
        for token in content
    ]
