"""Settings of the MLLM that answers events without a response."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from protector_models.settings import ENDPOINT_KEYS, Device, Dtype, ModelSettings, Seconds


class MllmSettings(ModelSettings):
    """The multimodal LLM that answers events without a response (`docs/models.md`)."""

    keys_by_kind: ClassVar[Mapping[str, Sequence[str]]] = {
        "off": (),
        "transformers": (
            *("model", "max_tokens", "temperature", "top_p", "seed", "deadline_s"),
            *("device", "dtype", "max_input_tokens", "max_images", "tokens_per_run"),
        ),
        "openai": ("model", "max_tokens", "temperature", "top_p", "seed", "deadline_s", *ENDPOINT_KEYS),
    }

    kind: Literal["off", "transformers", "openai"] = "off"
    """`transformers`: an image-text-to-text model, run here. `openai`: any endpoint that speaks the OpenAI chat API. A
    key that the kind does not use is an error."""
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

    @model_validator(mode="after")
    def _require_drawing(self) -> Self:
        unused = [name for name in ("top_p", "seed") if getattr(self, name) is not None]
        if self.temperature == 0 and unused:
            raise ValueError(f"temperature 0: expected no {' and no '.join(unused)}: nothing is drawn")
        return self
