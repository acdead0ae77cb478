"""The configuration of the whole application: one YAML file, overridable by environment variables.

`WEIR_KAFKA__BOOTSTRAP_SERVERS='["a:9092"]'` overrides `kafka.bootstrap_servers`; two underscores lead into a section,
and lists are JSON. Every key is known: a misspelt one is an error, in the file and in the environment. Relative paths
in the file are relative to the file, those in variables to the working directory.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from pipelines.streaming.settings import KafkaSettings, StreamSettings
from protector_models.images.settings import ImageSettings
from protector_models.moderation.errors import ConfigurationError
from protector_models.settings import DetectorSettings, DetoxifierSettings, MllmSettings
from protector_models.yaml_file import read_yaml
from services.settings import RedisSettings, ServeSettings

_PREFIX = "WEIR_"
_NESTED = "__"
_CONFIG_VARIABLE = "WEIR_CONFIG"
"""Names the configuration's file."""
_TEST_PREFIX = "WEIR_TEST_"
"""Of variables that only the tests read."""
_SECRET_WORDS = ("password", "api_key", "secret", "url")
"""In the names of settings whose values are never shown."""
_PATH_KEYS = frozenset({"policy", "checkpoint", "template", "ca_file", "roots", "file"})
_NAME_OR_PATH_KEYS = frozenset({"model", "adapter", "description"})


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
    images: ImageSettings = Field(default_factory=ImageSettings)
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


def load_settings(path: Path | None) -> WeirSettings:
    """Return the configuration in force: the file, overridden by `WEIR_...` variables of the environment.

    Args:
        path: the YAML file; None reads the one that WEIR_CONFIG names, or none at all.

    Raises:
        ConfigurationError: an unknown key or a bad value; the message names it and what was expected.
    """
    if path is None and (named := os.environ.get(_CONFIG_VARIABLE)):
        path = Path(named)
    _refuse_unknown_variables(os.environ)
    content = {} if path is None else _with_paths_beside(path, _read(path))
    try:
        return WeirSettings(**content)
    except ValidationError as error:
        raise ConfigurationError(_describe(error, path)) from None  # the cause would show secrets
    except SettingsError as error:
        raise ConfigurationError(_describe_not_json(error)) from None  # the cause would show secrets


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path, name=str(path))
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(f"{path}: expected a mapping of sections, got {type(content).__name__}")
    return content


def _with_paths_beside(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return the content with its relative paths made relative to the file; whatever is no path stays as it is.

    What may be a path or a name is a path where it begins with a dot, as in ./model, or ends as a YAML file does.
    """

    def resolve(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {inner_key: resolve(inner, str(inner_key)) for inner_key, inner in value.items()}
        if isinstance(value, list):
            return [resolve(inner, key) for inner in value]
        return str(path.parent / value) if isinstance(value, str) and _is_path(key, value) else value

    return {key: resolve(value, key) for key, value in content.items()}


def _is_path(key: str, value: str) -> bool:
    looks_like_one = value.startswith(("./", "../")) or value.endswith((".yaml", ".yml"))
    return key in _PATH_KEYS or (key in _NAME_OR_PATH_KEYS and looks_like_one)


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    for name in environ:
        shouted = name.upper()  # pydantic reads variables in any case
        if not shouted.startswith(_PREFIX) or shouted.startswith(_TEST_PREFIX) or shouted == _CONFIG_VARIABLE:
            continue
        if shouted.removeprefix(_PREFIX).split(_NESTED)[0].lower() not in WeirSettings.model_fields:
            known = ", ".join(sorted(WeirSettings.model_fields))
            raise ConfigurationError(f"environment variable {name}: unknown; expected {_PREFIX} and one of: {known}")


def _describe_not_json(error: SettingsError) -> str:
    """Name the variables of the section in which one is not JSON: more of it pydantic does not tell."""
    section = re.search(r'field "(\w+)"', str(error))
    stem = _PREFIX + (section[1].upper() if section else "")
    names = [name for name in sorted(os.environ) if name.upper().startswith(stem)]
    return f"environment variable {' or '.join(names)}: expected JSON for a section or a list"


def _describe(error: ValidationError, path: Path | None) -> str:
    return "; ".join(_describe_one(detail, path) for detail in error.errors(include_url=False))


def _describe_one(detail: ErrorDetails, path: Path | None) -> str:
    if not detail["loc"]:
        # Of the whole: the message names keys and values itself.
        return f"{path or 'configuration'}: {detail['msg'].removeprefix('Value error, ')}"
    steps = [str(step) for step in detail["loc"]]
    key = ".".join(steps)
    variable = _PREFIX + _NESTED.join(steps).upper()
    is_variable = any(name.upper() == variable for name in os.environ)
    where = f"environment variable {variable}" if is_variable else f"{path or 'configuration'}: {key}"
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    value = detail["input"]
    # A whole section may hold secrets, and so may what stands in the place of one.
    is_shown = isinstance(value, str | int | float) and detail["type"] not in {"model_type", "dict_type", "missing"}
    if not is_shown or any(word in key for word in _SECRET_WORDS):
        return f"{where}: {detail['msg']}, got {type(value).__name__}"
    return f"{where}: {detail['msg']}, got {value!r:.80}"
