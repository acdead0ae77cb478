"""Settings of the models: what all have, and those of the detectors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from protector_models.moderation.model_outputs import Score

Seconds = Annotated[float, Field(gt=0, le=86_400)]

Engine = Literal["onnx", "torch"]
Device = Literal["cpu", "cuda"]
Weights = Literal["both", "fast", "accurate"]
Dtype = Literal["float32", "bfloat16", "float16"]

ENDPOINT_KEYS = ("base_url", "api_key", "timeout_s", "concurrency", "max_attempts")
"""What says how an endpoint is asked, whatever model is behind it."""


class Section(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(Section):
    """A model of one of several kinds, among them those behind an endpoint that speaks the OpenAI chat API.

    A key that the kind does not use is an error.
    """

    # The error of a key that is not used would show all keys, the endpoint's secret one among them.
    model_config = ConfigDict(hide_input_in_errors=True)

    keys_by_kind: ClassVar[Mapping[str, Sequence[str]]]
    """The keys that each kind uses, beside `kind`."""
    required_keys: ClassVar[Sequence[str]] = ("model", "base_url")
    """Must be set wherever the kind uses them."""

    kind: str
    model: str | None = None
    """transformers: a folder or a name on the hub, with weights as safetensors. openai: the name at the endpoint."""
    base_url: str | None = None
    """openai: where the API begins, such as http://localhost:8000/v1. Without a user or a password: it is shown and
    logged."""
    api_key: SecretStr | None = None
    """openai: null sends none."""
    timeout_s: Seconds = 60.0
    """openai: how long one request may take; what it is tried again for has this time anew."""
    deadline_s: Seconds = 180.0
    """openai: how long one request may take from its turn on, all tries and waits included. transformers: how long a
    call may take from its turn on."""
    concurrency: Annotated[int, Field(ge=1)] = 16
    """openai: requests at the same time; further ones wait for their turn."""
    max_attempts: Annotated[int, Field(ge=1)] = 4
    """openai: how often a request is made while the endpoint fails or cannot be reached; while it is busy (408, 409,
    425, 429, 503, 529) there is no limit but the deadline."""

    @field_validator("base_url")
    @classmethod
    def _refuse_userinfo(cls, base_url: str | None) -> str | None:
        # Anywhere, not only where a parser finds a user: a password with a slash in it ends the host for most of them.
        if base_url is not None and "@" in base_url:
            raise ValueError("expected a URL without user, password and '@'; a key belongs in api_key")
        return base_url

    @model_validator(mode="after")
    def _require_keys_of_kind(self) -> Self:
        used = {"kind", *self.keys_by_kind[self.kind]}
        defaults = type(self).model_fields
        # By value, not by presence: settings that were written out whole can be read again.
        foreign = [name for name in defaults if name not in used and getattr(self, name) != defaults[name].default]
        if foreign:
            raise ValueError(f"kind {self.kind!r}: expected no {', '.join(foreign)}: it does not use them")
        missing = [name for name in self.required_keys if name in used and not getattr(self, name)]
        if missing:
            raise ValueError(f"kind {self.kind!r}: expected {' and '.join(missing)} to be set")
        return self


class DetectorSettings(ModelSettings):
    """Which harm detector reads the responses (`docs/models.md`). A key that the kind does not use is an error."""

    keys_by_kind: ClassVar[Mapping[str, Sequence[str]]] = {
        "onnx": ("checkpoint", "weights", "engine", "device", "num_threads", "max_windows"),
        "bag_of_words": ("checkpoint", "max_windows"),
        "transformers": (
            *("description", "model", "adapter", "template", "device", "dtype", "num_threads"),
            *("max_input_tokens", "tokens_per_run", "max_windows"),
        ),
        "openai": ("description", "model", "template", "max_windows", *ENDPOINT_KEYS, "deadline_s", "logprobs"),
        "cascade": ("cascade",),
    }
    required_keys: ClassVar[Sequence[str]] = ("description", "model", "base_url", "cascade")

    kind: Literal["onnx", "bag_of_words", "transformers", "openai", "cascade"] = "onnx"
    """`onnx`: weights as `weir train detector` writes them, the shipped ones among them. `bag_of_words`: of those, the
    model over words alone. `transformers`: any sequence classifier or generative guard, run here. `openai`: a
    generative guard behind any endpoint that speaks the OpenAI chat API. `cascade`: two detectors, the second for what
    the first is not sure of."""
    checkpoint: Path | None = None
    """onnx, bag_of_words: the folder of a checkpoint; null is the one that Weir ships."""
    weights: Weights = "both"
    """onnx: which of the checkpoint's detectors. `both`: the fast one reads everything, and the accurate one in the
    folder `accurate`, where there is one, the passages in doubt; their scores are joined. `fast`, `accurate`: that one
    alone."""
    engine: Engine = "onnx"
    """onnx: what runs the encoder. `onnx`: int8 on the CPU. `torch`: the same weights in fp32, for GPUs. Scores of the
    two differ a little, and so do their revisions."""
    device: Device = "cpu"
    """onnx, transformers: where torch computes; `cuda` is the first GPU that the process sees, under Ray the one that
    Ray gave it."""
    num_threads: Annotated[int, Field(ge=1)] | None = None
    """onnx, transformers: threads that one call computes on; null: as many as the deployment, or else the machine, has
    CPUs."""
    max_windows: Annotated[int, Field(ge=1)] = 64
    """All but cascade: windows of one text that are read; what lies beyond them is reported as not read."""
    description: str | None = None
    """transformers, openai: how the checkpoint is asked and what its output means: a name that `weir models list`
    shows, or the path of a YAML file."""
    adapter: str | None = None
    """transformers: a LoRA adapter, a folder or a name on the hub, with weights as safetensors."""
    template: Path | None = None
    """transformers, openai: a text file with {prompt} and {response}, for a guard whose tokenizer has no chat
    template."""
    dtype: Dtype = "float32"
    """transformers: the type of its weights."""
    max_input_tokens: Annotated[int, Field(ge=16)] | None = None
    """transformers: the longest input, template and prompt included; a longer response is read in several windows.
    null: as the description says."""
    tokens_per_run: Annotated[int, Field(ge=1)] | None = None
    """transformers: tokens that are computed together, padding included; null: on a CPU one window at a time, on a GPU
    16,384 tokens."""
    deadline_s: Seconds = 100.0
    """openai: how long one request may take from its turn on, all tries and waits included; less than
    `serve.deadlines.assess_s`."""
    logprobs: bool = True
    """openai: whether the probabilities of tokens are asked for. Some endpoints refuse requests that do; without them
    harmfulness is the weight of the verdict that was written, mostly 0 or 1."""
    cascade: "CascadeSettings | None" = None
    """cascade: its two detectors, and what the second one reads."""

    def is_shipped_pair(self) -> bool:
        """Tell whether it is what Weir ships, whole: the detector that the default policy's thresholds are for."""
        return self.kind == "onnx" and self.checkpoint is None and self.weights == "both"

    @model_validator(mode="after")
    def _require_fitting_device(self) -> Self:
        if self.kind == "onnx" and self.engine == "onnx" and self.device != "cpu":
            raise ValueError(f"engine 'onnx': expected device 'cpu', got {self.device!r}; a GPU takes engine 'torch'")
        return self


class CascadeSettings(Section):
    """Two detectors, one after the other."""

    first: DetectorSettings
    """Reads everything, and settles what it is sure of."""
    second: DetectorSettings
    """Reads what the first one is not sure of."""
    band: tuple[Score, Score]
    """[low, high]: scores of the first detector that settle nothing, both ends included."""

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        low, high = self.band
        if low > high:
            raise ValueError(f"band: expected the lower end first, got [{low:g}, {high:g}]")
        return self
