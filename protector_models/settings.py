"""Settings of the models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from protector_models.moderation.verdict import Score

Seconds = Annotated[float, Field(gt=0, le=86_400)]

Engine = Literal["onnx", "torch"]
Device = Literal["cpu", "cuda"]
Dtype = Literal["float32", "bfloat16", "float16"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _require_no_userinfo(base_url: str | None) -> str | None:
    # Anywhere, not only where a parser finds a user: a password with a slash in it ends the host for most of them.
    if base_url is not None and "@" in base_url:
        raise ValueError("expected a URL without user, password and '@'; a key belongs in api_key")
    return base_url


def _require_keys_of_kind(
    settings: BaseModel, kind: str, keys: Mapping[str, Sequence[str]], *, required: Sequence[str]
) -> None:
    """Refuse keys that a kind does not use, and the lack of those that it cannot do without.

    Args:
        settings: what was configured, with a key `kind`.
        kind: its value.
        keys: for each kind, those that it uses.
        required: must be set wherever they are used.
    """
    used = {"kind", *keys[kind]}
    defaults = type(settings).model_fields
    # By value, not by presence: settings that were written out whole can be read again.
    foreign = [name for name in defaults if name not in used and getattr(settings, name) != defaults[name].default]
    if foreign:
        raise ValueError(f"kind {kind!r}: expected no {', '.join(foreign)}: it does not use them")
    missing = [name for name in required if name in used and not getattr(settings, name)]
    if missing:
        raise ValueError(f"kind {kind!r}: expected {' and '.join(missing)} to be set")


class DetectorSettings(_Section):
    """Which harm detector reads the responses (`docs/models.md`). A key that the kind does not use is an error."""

    # The error of a key that is not used would show all keys, the endpoint's secret one among them.
    model_config = ConfigDict(hide_input_in_errors=True)

    kind: Literal["onnx", "bag_of_words", "transformers", "openai", "cascade"] = "onnx"
    """`onnx`: weights as `weir train detector` writes them, the shipped ones among them. `bag_of_words`: of those, the
    model over words alone. `transformers`: any sequence classifier or generative guard, run here. `openai`: a
    generative guard behind any endpoint that speaks the OpenAI chat API. `cascade`: two detectors, the second for what
    the first is not sure of."""
    checkpoint: Path | None = None
    """onnx, bag_of_words: the folder of a checkpoint; null is the one that Weir ships."""
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
    model: str | None = None
    """transformers: a folder or a name on the hub, with weights as safetensors. openai: the name at the endpoint."""
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
    base_url: str | None = None
    """openai: where the API begins. Without a user or a password: it is shown and logged."""
    api_key: SecretStr | None = None
    """openai: null sends none."""
    timeout_s: Seconds = 60.0
    """openai: how long one request may take; what it is tried again for has this time anew."""
    deadline_s: Seconds = 100.0
    """openai: how long the assessments of one batch may take, all tries and waits included; less than
    `serve.deadlines.assess_s`."""
    concurrency: Annotated[int, Field(ge=1)] = 16
    """openai: requests at the same time."""
    max_attempts: Annotated[int, Field(ge=1)] = 4
    """openai: how often a request is made while the endpoint is busy or fails."""
    logprobs: bool = True
    """openai: whether the probabilities of tokens are asked for. Some endpoints refuse requests that do; without them
    harmfulness is the weight of the verdict that was written, mostly 0 or 1."""
    cascade: "CascadeSettings | None" = None
    """cascade: its two detectors, and what the second one reads."""

    @field_validator("base_url")
    @classmethod
    def _refuse_userinfo(cls, base_url: str | None) -> str | None:
        return _require_no_userinfo(base_url)

    @model_validator(mode="after")
    def _require_fitting_keys(self) -> Self:
        _require_keys_of_kind(self, self.kind, _DETECTOR_KEYS, required=("description", "model", "base_url", "cascade"))
        if self.kind == "onnx" and self.engine == "onnx" and self.device != "cpu":
            raise ValueError(f"engine 'onnx': expected device 'cpu', got {self.device!r}; a GPU takes engine 'torch'")
        return self


class CascadeSettings(_Section):
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


_DETECTOR_KEYS: Mapping[str, Sequence[str]] = {
    "onnx": ("checkpoint", "engine", "device", "num_threads", "max_windows"),
    "bag_of_words": ("checkpoint", "max_windows"),
    "transformers": (
        *("description", "model", "adapter", "template", "device", "dtype", "num_threads"),
        *("max_input_tokens", "tokens_per_run", "max_windows"),
    ),
    "openai": (
        *("description", "model", "template", "max_windows"),
        *("base_url", "api_key", "timeout_s", "deadline_s", "concurrency", "max_attempts", "logprobs"),
    ),
    "cascade": ("cascade",),
}
"""Which keys a kind of detector uses."""


class GeneratorSettings(_Section):
    """The generative language model that rewrites whole answers (`docs/generative-detoxifier.md`)."""

    # The error of a key that is not used would show all keys, the endpoint's secret one among them.
    model_config = ConfigDict(hide_input_in_errors=True)

    kind: Literal["off", "transformers", "openai"] = "off"
    """`transformers`: a causal or sequence-to-sequence model, run here. `openai`: any endpoint that speaks the OpenAI
    chat API. A key that the kind does not use is an error."""
    model: str | None = None
    """transformers: a folder or a name on the hub, with weights as safetensors. openai: the name at the endpoint."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 512
    """The longest rewrite, in tokens; a rewrite that is cut there has failed."""
    deadline_s: Seconds = 180.0
    """How long the rewrites of one batch may take, all tries and waits included; less than `serve.deadlines.rewrite_s`.
    What was written by then is kept, and the rest is late."""
    adapter: str | None = None
    """transformers: a LoRA adapter, a folder or a name on the hub, with weights as safetensors."""
    device: Device = "cpu"
    """transformers: where it computes; `cuda` is the first GPU that the process sees."""
    dtype: Dtype = "float32"
    """transformers: the type of its weights."""
    max_input_tokens: Annotated[int, Field(ge=1)] = 3_072
    """transformers: the longest instruction with question and answer; what is longer is not rewritten, never cut."""
    tokens_per_run: Annotated[int, Field(ge=1)] | None = None
    """transformers: tokens that are computed together, those to be written and padding included; null: on a CPU one
    request at a time, on a GPU 16,384 tokens."""
    base_url: str | None = None
    """openai: where the API begins. Without a user or a password: it is shown and logged."""
    api_key: SecretStr | None = None
    """openai: null sends none."""
    timeout_s: Seconds = 60.0
    """openai: how long one request may take; what it is tried again for has this time anew."""
    concurrency: Annotated[int, Field(ge=1)] = 16
    """openai: requests at the same time."""
    max_attempts: Annotated[int, Field(ge=1)] = 4
    """openai: how often a request is made while the endpoint is busy or fails."""

    @field_validator("base_url")
    @classmethod
    def _refuse_userinfo(cls, base_url: str | None) -> str | None:
        return _require_no_userinfo(base_url)

    @model_validator(mode="after")
    def _require_fitting_keys(self) -> Self:
        _require_keys_of_kind(self, self.kind, _GENERATOR_KEYS, required=("model", "base_url"))
        return self


_GENERATOR_KEYS: Mapping[str, Sequence[str]] = {
    "off": (),
    "transformers": (
        *("model", "max_new_tokens", "deadline_s"),
        *("adapter", "device", "dtype", "max_input_tokens", "tokens_per_run"),
    ),
    "openai": (
        *("model", "max_new_tokens", "deadline_s"),
        *("base_url", "api_key", "timeout_s", "concurrency", "max_attempts"),
    ),
}
"""Which keys a kind of generator uses."""


class DetoxifierSettings(_Section):
    """What writes harmless responses."""

    edit: bool = True
    """Whether the edit model is there: what rewrites where the policy says `edit`."""
    checkpoint: Path | None = None
    """The folder of the edit model; null is the one that Weir ships."""
    num_threads: Annotated[int, Field(ge=1)] | None = None
    """Threads that one call of the edit model computes on; null: as many as the deployment, or else the machine, has
    CPUs."""
    generator: GeneratorSettings = Field(default_factory=GeneratorSettings)
    """What rewrites where the policy says `generate`."""

    @model_validator(mode="after")
    def _require_edit_model(self) -> Self:
        unused = [name for name in ("checkpoint", "num_threads") if getattr(self, name) is not None]
        if unused and not self.edit:
            raise ValueError(f"edit is off: expected no {' and no '.join(unused)}")
        return self

    @property
    def has_models(self) -> bool:
        """Whether any model is switched on."""
        return self.edit or self.generator.kind != "off"


class MllmSettings(_Section):
    """The multimodal LLM that answers events without a response (`docs/models.md`)."""

    # The error of a key that is not used would show all keys, the endpoint's secret one among them.
    model_config = ConfigDict(hide_input_in_errors=True)

    kind: Literal["off", "transformers", "openai"] = "off"
    """`transformers`: an image-text-to-text model, run here. `openai`: any endpoint that speaks the OpenAI chat API. A
    key that the kind does not use is an error."""
    model: str | None = None
    """transformers: a folder or a name on the hub, with weights as safetensors. openai: the name at the endpoint."""
    max_tokens: Annotated[int, Field(ge=1)] = 512
    """The longest answer, in tokens; an answer that is cut there is moderated and delivered as far as it goes."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    """0 takes the likeliest answer; above it answers are drawn."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Draws from the likeliest tokens that have this share together. Null: transformers draws from all; openai leaves
    it to the endpoint."""
    seed: int | None = None
    """Of drawn answers. transformers: with the conversation it decides the answer, so that a replay gives the same;
    null is 0. openai: sent along; null sends none."""
    deadline_s: Seconds = 180.0
    """How long the answers of one batch may take, all tries and waits included. What was written by then is kept, and
    the rest is late."""
    device: Device = "cpu"
    """transformers: where it computes; `cuda` is the first GPU that the process sees."""
    dtype: Dtype = "float32"
    """transformers: the type of its weights."""
    max_input_tokens: Annotated[int, Field(ge=1)] = 3_072
    """transformers: the longest conversation, images included; what is longer is not answered, never cut."""
    max_images: Annotated[int, Field(ge=0)] = 16
    """transformers: images of one conversation; what has more is not answered."""
    tokens_per_run: Annotated[int, Field(ge=1)] | None = None
    """transformers: tokens that are computed together, those to be written and padding included; null: on a CPU one
    conversation at a time, on a GPU 16,384 tokens."""
    base_url: str | None = None
    """openai: where the API begins, such as http://localhost:8000/v1. Without a user or a password: it is shown and
    logged."""
    api_key: SecretStr | None = None
    """openai: null sends none."""
    timeout_s: Seconds = 60.0
    """openai: how long one request may take; what it is tried again for has this time anew."""
    concurrency: Annotated[int, Field(ge=1)] = 16
    """openai: requests at the same time."""
    max_attempts: Annotated[int, Field(ge=1)] = 4
    """openai: how often a request is made while the endpoint is busy or fails."""

    @field_validator("base_url")
    @classmethod
    def _refuse_userinfo(cls, base_url: str | None) -> str | None:
        return _require_no_userinfo(base_url)

    @model_validator(mode="after")
    def _require_used_keys(self) -> Self:
        _require_keys_of_kind(self, self.kind, _MLLM_KEYS, required=("model", "base_url"))
        unused = [name for name in ("top_p", "seed") if getattr(self, name) is not None]
        if self.temperature == 0 and unused:
            raise ValueError(f"temperature 0: expected no {' and no '.join(unused)}: nothing is drawn")
        return self


_MLLM_KEYS: Mapping[str, Sequence[str]] = {
    "off": (),
    "transformers": (
        *("model", "max_tokens", "temperature", "top_p", "seed", "deadline_s"),
        *("device", "dtype", "max_input_tokens", "max_images", "tokens_per_run"),
    ),
    "openai": (
        *("model", "max_tokens", "temperature", "top_p", "seed", "deadline_s"),
        *("base_url", "api_key", "timeout_s", "concurrency", "max_attempts"),
    ),
}
"""Which keys a kind of MLLM uses."""
