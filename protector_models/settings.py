"""Settings of the models."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

Seconds = Annotated[float, Field(gt=0, le=86_400)]

Engine = Literal["onnx", "torch"]
Device = Literal["cpu", "cuda"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DetectorSettings(_Section):
    """Which harm detector reads the responses."""

    checkpoint: Path | None = None
    """The folder of a checkpoint; null is the one that Weir ships."""
    engine: Engine = "onnx"
    """What runs the encoder. `onnx`: int8 on the CPU. `torch`: the same weights in fp32, for GPUs. Scores of the
    two differ a little, and so do their revisions."""
    device: Device = "cpu"
    """Where torch computes; `cuda` is the first GPU that the process sees, under Ray the one that Ray gave it."""
    num_threads: Annotated[int, Field(ge=1)] | None = None
    """Threads that one call computes on; null: as many as the deployment, or else the machine, has CPUs."""
    max_windows: Annotated[int, Field(ge=1)] = 64
    """Windows of one text that are read; what lies beyond them is reported as not read."""

    @model_validator(mode="after")
    def _require_fitting_device(self) -> Self:
        if self.engine == "onnx" and self.device != "cpu":
            raise ValueError(f"engine 'onnx': expected device 'cpu', got {self.device!r}; a GPU takes engine 'torch'")
        return self


class DetoxifierSettings(_Section):
    """What writes harmless responses."""

    kind: Literal["safe_completion", "off"] = "safe_completion"
    """`safe_completion`: the policy's text for the category, looked at by the detector like any other rewrite. `off`:
    the same text, not looked at."""


class MllmSettings(_Section):
    """The multimodal LLM that answers events without a response."""

    kind: Literal["off", "openai"] = "off"
    """`openai`: any endpoint that speaks the OpenAI chat API."""
    base_url: str | None = None
    """Where the API begins, such as http://localhost:8000/v1. Without a user or a password: it is shown and logged."""
    model: str | None = None
    """The model's name at the endpoint."""
    api_key: SecretStr | None = None
    max_tokens: Annotated[int, Field(ge=1)] = 512
    """The longest answer, in tokens."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    timeout_s: Seconds = 60.0
    """How long one request may take; what it is tried again for has this time anew."""
    deadline_s: Seconds = 180.0
    """How long the answers of one batch may take, all tries and waits included."""
    concurrency: Annotated[int, Field(ge=1)] = 16
    """Requests at the same time."""
    max_attempts: Annotated[int, Field(ge=1)] = 4
    """How often a request is made while the endpoint is busy or fails."""

    @field_validator("base_url")
    @classmethod
    def _refuse_userinfo(cls, base_url: str | None) -> str | None:
        # Anywhere, not only where a parser finds a user: a password with a slash in it ends the host for most of them.
        if base_url is not None and "@" in base_url:
            raise ValueError("expected a URL without user, password and '@'; a key belongs in api_key")
        return base_url

    @model_validator(mode="after")
    def _require_endpoint(self) -> Self:
        if self.kind == "openai" and (not self.base_url or not self.model):
            raise ValueError("kind 'openai': expected base_url and model to be set")
        return self
