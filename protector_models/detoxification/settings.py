"""Settings of the detoxifier: of its edit model, and of the generative one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from protector_models.settings import ENDPOINT_KEYS, Device, Dtype, ModelSettings, Seconds, Section


class GeneratorSettings(ModelSettings):
    """The generative language model that rewrites whole answers (`docs/generative-detoxifier.md`)."""

    keys_by_kind: ClassVar[Mapping[str, Sequence[str]]] = {
        "off": (),
        "transformers": (
            *("model", "max_new_tokens", "deadline_s"),
            *("adapter", "device", "dtype", "max_input_tokens", "tokens_per_run"),
        ),
        "openai": ("model", "max_new_tokens", "deadline_s", *ENDPOINT_KEYS),
    }

    kind: Literal["off", "transformers", "openai"] = "off"
    """`transformers`: a causal or sequence-to-sequence model, run here. `openai`: any endpoint that speaks the OpenAI
    chat API. A key that the kind does not use is an error."""
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


class DetoxifierSettings(Section):
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
