"""What moderation is configured by, wherever it runs: models, policy, cache, deployments, output, logs."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from protector_models.detoxification.settings import DetoxifierSettings
from protector_models.images.settings import ImageSettings
from protector_models.mllms.settings import MllmSettings
from protector_models.settings import DetectorSettings
from services.environment import StrictEnvironment
from services.settings import RedisSettings, ServeSettings

ENV_PREFIX = "WEIR_"
ENV_NESTED = "__"


class OutputSettings(BaseModel):
    """What is published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    include_original_response: bool = False
    """Publish the original of a response that was rewritten, blocked or held back."""


class LogSettings(BaseModel):
    """What is logged, to standard error. Never prompts or responses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class ModerationSettings(BaseSettings):
    """All that moderation needs. What reads a stream, or serves a front, adds sections of its own."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_NESTED,
        nested_model_default_partial_update=True,
    )

    policy: Path | None = None
    """A policy file; null is the default policy that comes with Weir."""
    shadow_policy: Path | None = None
    """The file of another policy, that decides beside the one in force and changes nothing; null: there is none."""
    policy_reload_s: Annotated[float, Field(gt=0)] | None = 5.0
    """Seconds between two looks at policy files, by what serves: a changed one is in force once it has stood still
    between two looks. Null: it is read at the start only."""
    redis: RedisSettings = Field(default_factory=RedisSettings)
    images: ImageSettings = Field(default_factory=ImageSettings)
    detector: DetectorSettings = Field(default_factory=DetectorSettings)
    second_opinion: DetectorSettings | None = DetectorSettings(kind="bag_of_words")
    """A detector of another kind, in this process, that reads rewrites too before they are released: it may object to
    what `detector` lets pass. Null, or the same as `detector`: there is none."""
    detoxifier: DetoxifierSettings = Field(default_factory=DetoxifierSettings)
    mllm: MllmSettings = Field(default_factory=MllmSettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let environment variables win over the file, which arrives as arguments; read nothing else."""
        return StrictEnvironment(settings_cls), init_settings

    @model_validator(mode="after")
    def _require_order_of_deadlines(self) -> Self:
        # Else a call is given up before the model is late, and what that has computed is lost.
        deadlines, generator = self.serve.deadlines, self.detoxifier.generator
        if generator.kind != "off":
            _require_more("rewrite_s", deadlines.rewrite_s, "detoxifier.generator.deadline_s", generator.deadline_s)
        if self.mllm.kind != "off":
            _require_more("generate_s", deadlines.generate_s, "mllm.deadline_s", self.mllm.deadline_s)
        if self.images.read != "off":
            _require_more("images_s", deadlines.images_s, "3 * images.time_limit_s", self.images.give_up_s)
        named = "detector.deadline_s of every endpoint in it"
        _require_more("assess_s", deadlines.assess_s, named, _sum_endpoint_deadlines_s(self.detector))
        return self


def _require_more(name: str, seconds: float, other_name: str, other_seconds: float) -> None:
    if seconds <= other_seconds:
        raise ValueError(
            f"serve.deadlines.{name}: expected more than {other_name} ({other_seconds:g} s), got {seconds:g} s"
        )


def _sum_endpoint_deadlines_s(detector: DetectorSettings) -> float:
    """Return how long the endpoints of a detector may take one after the other; 0 where it has none."""
    if detector.cascade is not None:
        return sum(_sum_endpoint_deadlines_s(one) for one in (detector.cascade.first, detector.cascade.second))
    return detector.deadline_s if detector.kind == "openai" else 0.0
