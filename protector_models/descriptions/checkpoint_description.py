"""Descriptions of checkpoints: how a detector that others trained is asked, and what its output means, as data.

Those that come with Weir are the files of `shipped/`; `detector.description` names one of them, or a
file of the same form.
"""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from protector_models.descriptions.generative_head import FIELD, GenerativeHead
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.harm_categories import HarmCategory
from protector_models.moderation.model_outputs import Score
from protector_models.policies.yaml_file import read_yaml

_DIRECTORY = resources.files("protector_models.descriptions").joinpath("shipped")
_SUFFIX = ".yaml"


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassificationHead(_Data):
    """A sequence classifier: one logit, or one for each label."""

    kind: Literal["classification"]
    template: str | None = None
    """What the model reads, with {prompt} and {response}. None: prompt and response as the tokenizer's pair of texts,
    and a response without a prompt as one text."""
    activation: Literal["sigmoid", "softmax"]
    """`softmax`: the labels exclude each other. `sigmoid`: one logit, or labels that do not."""
    polarity: Literal["harmful", "harmless"] = "harmful"
    """What the one logit is of, or the labels that `scored_labels` names. `harmless`: harmfulness is 1 minus that."""
    scored_labels: tuple[str, ...] = ()
    """Which labels the score is made of, by their names in the model's configuration: the sum of their probabilities
    under softmax, the highest of them under sigmoid. Empty for a model of one logit."""
    categories: dict[str, HarmCategory] = Field(default_factory=dict)
    """Labels of the model in our words; others have no category."""

    @model_validator(mode="after")
    def _require_agreement(self) -> Self:
        if self.activation == "softmax" and not self.scored_labels:
            raise ValueError("activation 'softmax': expected scored_labels; one logit takes 'sigmoid'")
        if self.template is not None and (found := set(FIELD.findall(self.template))) != {"prompt", "response"}:
            raise ValueError(f"template: expected the fields prompt and response in braces, got {sorted(found)}")
        return self


class ReadingWindow(_Data):
    """How much of an exchange a model reads at once, in tokens of its own."""

    max_tokens: Annotated[int, Field(ge=16)]
    """The longest input: template, prompt and response."""
    overlap: Annotated[int, Field(ge=0)] = 32
    """Of two neighbouring windows of a response that does not fit into one."""


class CheckpointDescription(_Data):
    """How one family of checkpoints is asked, and what its output means."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """What `detector.description` calls it."""
    about: str
    """Which checkpoints it is for, in a sentence."""
    base: str | None = None
    """The model that an adapter of this family goes on, as its makers name it."""
    head: Annotated[ClassificationHead | GenerativeHead, Field(discriminator="kind")]
    window: ReadingWindow
    threshold: Score = 0.5
    """Harmfulness from which on a response counts as harmful, unless a policy says otherwise."""

    @property
    def categories(self) -> frozenset[str]:
        """The categories of ours that it gives a score for."""
        own = frozenset(self.head.categories.values())
        if isinstance(self.head, GenerativeHead):
            own |= {question.category for question in self.head.questions if question.category is not None}
        return own


def list_descriptions() -> list[CheckpointDescription]:
    """Return the descriptions that come with Weir, by name."""
    return [_read_shipped(name) for name in sorted(_shipped())]


def load_description(name: str) -> CheckpointDescription:
    """Return the description of that name, or of the file at that path.

    Raises:
        ConfigurationError: there is neither, or the file is not a description; the message names file and field.
    """
    shipped = _shipped()
    if name in shipped:
        return _read_shipped(name)
    if not name.endswith((_SUFFIX, ".yml")):
        raise ConfigurationError(
            f"detector.description: {name!r}: expected a file ending in {_SUFFIX}, or one of: "
            f"{', '.join(sorted(shipped))}"
        )
    return _read(Path(name), name=f"description {name}")


def _shipped() -> dict[str, Traversable]:
    return {file.name.removesuffix(_SUFFIX): file for file in _DIRECTORY.iterdir() if file.name.endswith(_SUFFIX)}


@cache
def _read_shipped(name: str) -> CheckpointDescription:
    # Once: YAML is slow to read, and what comes with Weir does not change.
    return _read(_shipped()[name], name=f"description {name}")


def _read(file: Path | Traversable, *, name: str) -> CheckpointDescription:
    content = read_yaml(file, name=name)
    try:
        return CheckpointDescription.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(f"{name}: {_describe(error)}") from error


def _describe(error: ValidationError) -> str:
    faults: Sequence[str] = [
        f"{'.'.join(map(str, detail['loc'])) or 'file'}: {detail['msg']}, got {detail['input']!r:.80}"
        for detail in error.errors(include_url=False)
    ]
    return "; ".join(faults)
