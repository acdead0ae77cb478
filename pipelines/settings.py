"""The configuration of the whole application: one YAML file, overridable by environment variables.

`WEIR_KAFKA__BOOTSTRAP_SERVERS='["a:9092"]'` overrides `kafka.bootstrap_servers`; two underscores lead into a section,
and lists are JSON. Every key is known: a misspelt one is an error, in the file and in the environment.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pipelines.streaming.settings import KafkaSettings, StreamSettings
from protector_models.moderation.errors import ConfigurationError
from protector_models.settings import DetectorSettings, DetoxifierSettings, MllmSettings
from services.settings import RedisSettings, ServeSettings

_PREFIX = "WEIR_"
_NESTED = "__"
_NOT_SETTINGS = ("WEIR_CONFIG", "WEIR_TEST_")
"""Variables of this prefix that are no settings: the configuration's path, and what only the tests read."""


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


class WeirSettings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=_PREFIX,
        env_nested_delimiter=_NESTED,
        nested_model_default_partial_update=True,
    )

    policy: Path | None = None
    """A policy file; null is the default policy that comes with Weir."""
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    stream: StreamSettings = Field(default_factory=StreamSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    detector: DetectorSettings = Field(default_factory=DetectorSettings)
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
        return env_settings, init_settings


def load_settings(path: Path | None) -> WeirSettings:
    """Return the configuration in force: the file, overridden by `WEIR_...` variables of the environment.

    Args:
        path: the YAML file; None reads the one that WEIR_CONFIG names, or none at all.

    Raises:
        ConfigurationError: an unknown key or a bad value; the message names it and what was expected.
    """
    if path is None and (named := os.environ.get("WEIR_CONFIG")):
        path = Path(named)
    _refuse_unknown_variables(os.environ)
    content = {} if path is None else _read(path)
    try:
        settings = WeirSettings(**content)
    except ValidationError as error:
        raise ConfigurationError(_describe(error, path)) from None  # the cause would show secrets
    except ValueError as error:
        raise ConfigurationError(f"environment: {error}") from error
    if settings.policy is not None and path is not None and not settings.policy.is_absolute():
        return settings.model_copy(update={"policy": path.parent / settings.policy})
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not YAML in UTF-8: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(f"{path}: expected a mapping of sections, got {type(content).__name__}")
    return content


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    for name in environ:
        section = name.removeprefix(_PREFIX).split(_NESTED)[0].lower()
        if name.startswith(_PREFIX) and not name.startswith(_NOT_SETTINGS) and section not in WeirSettings.model_fields:
            known = ", ".join(sorted(WeirSettings.model_fields))
            raise ConfigurationError(f"environment variable {name}: unknown; expected {_PREFIX} and one of: {known}")


def _describe(error: ValidationError, path: Path | None) -> str:
    faults = []
    for detail in error.errors(include_url=False):
        key = ".".join(str(step) for step in detail["loc"])
        if detail["type"] == "extra_forbidden":
            faults.append(f"{key}: unknown key")
        else:
            hidden = any(word in key for word in ("password", "api_key", "url"))
            got = "" if hidden or detail["type"] == "missing" else f", got {detail['input']!r:.80}"
            faults.append(f"{key}: {detail['msg']}{got}")
    return f"{path or 'configuration'}: {'; '.join(faults)}"
