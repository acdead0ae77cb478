"""How a generative guard is asked, and what its words mean: the part of a checkpoint's description that is its own."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from protector_models.moderation.harm_categories import HarmCategory
from protector_models.moderation.model_outputs import Score

FIELD = re.compile(r"\{(prompt|response|text)\}")
"""Where a text goes."""


class GuardMessage(BaseModel):
    """One message to a guard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    content: str
    """With {prompt} and {response} where they go, or with {text} for a text that stands alone. Texts go in as they are:
    what looks like a field in them is none."""


class GuardQuestion(BaseModel):
    """One thing that a guard is asked about an exchange; most are asked one that covers all harms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: HarmCategory | None = None
    """Ours, that harm found by this question is of; None where the guard names categories itself."""
    arguments: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Further arguments of the chat template."""


class GenerativeHead(BaseModel):
    """A guard that writes its verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["generative"]
    prompt: Literal["chat_template", "template"]
    """`chat_template`: the one that the tokenizer carries. `template`: a text file that `detector.template` names."""
    messages: tuple[GuardMessage, ...] = ()
    """chat_template: what is sent for a prompt and its response."""
    messages_alone: tuple[GuardMessage, ...] = ()
    """chat_template: what is sent where only one of the two is there. With `template` it takes the prompt's place."""
    content: Literal["text", "parts"] = "text"
    """chat_template: how it takes a message's content, as a text or as a list of parts."""
    reserved: tuple[str, ...] = ()
    """Marks of the template that a text must not forge: a space breaks them there. The tokenizer's own control tokens
    are among them anyway, where the guard runs here."""
    adds_special_tokens: bool = True
    """template: whether the tokenizer puts its own beginning before it; false where the template has one."""
    questions: Annotated[tuple[GuardQuestion, ...], Field(min_length=1)] = (GuardQuestion(),)
    """Asked one by one; harmfulness is the highest of their answers."""
    verdict: str
    """A regular expression over what was written, with a group `verdict`, and `categories` where it names them; case
    does not matter."""
    verdict_alone: str | None = None
    """The same for a text that stands alone; None: no other than `verdict`."""
    verdicts: Annotated[dict[str, Score], Field(min_length=2)]
    """What each verdict says of harm: 1 harmful, 0 harmless."""
    categories: dict[str, HarmCategory] = Field(default_factory=dict)
    """The guard's categories, as it writes them, in our words."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 32

    @model_validator(mode="after")
    def _require_groups(self) -> Self:
        for name in ("verdict", "verdict_alone"):
            pattern = getattr(self, name)
            if pattern is None:
                continue
            try:
                groups = re.compile(pattern).groupindex
            except re.error as error:
                raise ValueError(f"{name}: expected a regular expression, got {pattern!r}: {error}") from error
            if "verdict" not in groups:
                raise ValueError(f"{name}: expected a group named 'verdict' in {pattern!r}")
        return self

    @model_validator(mode="after")
    def _require_messages(self) -> Self:
        if self.prompt == "template":
            if self.messages or self.messages_alone:
                raise ValueError("prompt 'template': expected no messages: it does not use them")
            return self
        for name, fields in (("messages", {"prompt", "response"}), ("messages_alone", {"text"})):
            found = {field for message in getattr(self, name) for field in FIELD.findall(message.content)}
            if found != fields:
                raise ValueError(f"{name}: expected the fields {sorted(fields)}, got {sorted(found)}")
        return self
