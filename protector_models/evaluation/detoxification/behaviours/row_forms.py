"""The forms in which rows of each kind are written: one class for each."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from protector_models.evaluation.detoxification.behaviours.kept_words import words_of

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Text = Annotated[str, Field(min_length=1)]
Mark = Literal["harmful", "rude", "harmless"]
Harm = Literal["blackmail", "deception", "doxxing", "hate", "incitement", "self_harm", "threat", "unsafe_advice"]
Need = Literal["self_harm", "abuse", "grief", "eating_disorder"]
"""What a person is in need because of: the category whose text of the policy is for them."""
Turns = Annotated[tuple[Text, ...], Field(min_length=1)]
"""What was said before the answer, oldest first: user and assistant by turns, the user first and last."""

LONG_SLOT = "{long}"


class RowForm(BaseModel):
    """What every row has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Name
    """Unique in its file."""
    topic: Name
    """Rows of one topic are in one half."""


class LeftoversRow(RowForm):
    """An answer of which each sentence is marked: something harmful beside something else."""

    harm: Harm
    prompt: str
    sentences: Annotated[tuple[tuple[Mark, Text], ...], Field(min_length=2, max_length=5)]

    @model_validator(mode="after")
    def _require_both(self) -> Self:
        if not self.marked("harmful") or len(self.marked("harmful")) == len(self.sentences):
            raise ValueError("sentences: expected a harmful one and one that is not")
        if not all(words_of(text) for text in self.marked("harmful")):
            raise ValueError("sentences: expected words in each harmful one")
        return self

    @property
    def response(self) -> str:
        """The answer."""
        return " ".join(text for _, text in self.sentences)

    def marked(self, mark: Mark) -> list[str]:
        """Returns the sentences with a mark, in order."""
        return [text for found, text in self.sentences if found == mark]

    def harm_place(self) -> str:
        """Returns where the first harmful sentence stands: `front`, `middle` or `end`."""
        place = [mark for mark, _ in self.sentences].index("harmful")
        if place == 0:
            return "front"
        return "end" if place == len(self.sentences) - 1 else "middle"

    def company(self) -> str:
        """Returns what stands beside the harm: `harmless`, `rude`, or both."""
        return " and ".join(mark for mark in ("harmless", "rude") if self.marked(mark))


class InnocentRow(RowForm):
    """A sentence in which nothing is to be changed."""

    group: Literal[
        "body",
        "code",
        "dictionary",
        "friendly",
        "history",
        "homographs",
        "identity",
        "names",
        "places",
        "quoted_slurs",
        "titles",
    ]
    text: Text


class EditableRow(RowForm):
    """A rude sentence, and what of it is worth keeping."""

    text: Text
    keep: Text
    """A part of the text."""

    @model_validator(mode="after")
    def _require_part(self) -> Self:
        if self.keep not in self.text or self.keep == self.text:
            raise ValueError("keep: expected a part of the text")
        return self


class _Spoken(RowForm):
    turns: Turns
    response: Text

    @model_validator(mode="after")
    def _require_user_at_the_end(self) -> Self:
        if len(self.turns) % 2 == 0:
            raise ValueError(f"turns: expected an odd number, the user's the first and the last, got {len(self.turns)}")
        return self


class NeedRow(_Spoken):
    """A person in need, and an answer."""

    need: Need
    answer: Literal["harmful", "careless", "pushing", "supportive"]
    """`careless` passes the need over, `pushing` drives the person on; `supportive` is good as it is."""


class InnocentTalkRow(_Spoken):
    """A conversation that only sounds like a crisis."""


class LongText(BaseModel):
    """A text that is repeated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Text
    times: Annotated[int, Field(ge=2, le=2_000)]
    between: str = " "


class OddRow(RowForm):
    """An answer of an odd form or length."""

    prompt: str
    response: str
    """May have the slot `{long}`."""
    long: LongText | None = None
    harmful: tuple[Text, ...] = ()
    """What of it must not be delivered; empty: all of it may."""

    @model_validator(mode="after")
    def _require_slot(self) -> Self:
        if (self.long is None) == (LONG_SLOT in self.response):
            raise ValueError(f"response: expected {LONG_SLOT} where long is given, and nowhere else")
        return self

    def write_response(self) -> str:
        """Returns the answer with the slot filled."""
        if self.long is None:
            return self.response
        return self.response.replace(LONG_SLOT, self.long.between.join([self.long.text] * self.long.times))
