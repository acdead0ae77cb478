"""The configuration of the whole application: one YAML file, overridable by environment variables.

`WEIR_KAFKA__BOOTSTRAP_SERVERS='["a:9092"]'` overrides `kafka.bootstrap_servers`; two underscores lead into a section,
and lists are JSON. Every key is known: a misspelt one is an error, in the file and in the environment. Relative paths
in the file are relative to the file, those in variables to the working directory.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import SettingsError

from pipelines.streaming.settings import KafkaSettings, StreamSettings
from protector_models.moderation.errors import ConfigurationError
from protector_models.policies.yaml_faults import Fault, find_faults
from protector_models.policies.yaml_file import YamlDocument, read_yaml_document
from services.configuration import ENV_NESTED, ENV_PREFIX, ModerationSettings
from services.http.settings import HttpSettings

_CONFIG_VARIABLE = "WEIR_CONFIG"
"""Names the configuration's file."""
_TEST_PREFIX = "WEIR_TEST_"
"""Of variables that only the tests read."""
_SECRET_WORDS = ("password", "api_key", "secret", "url")
"""In the names of settings whose values are never shown."""
_PATH_KEYS = frozenset(
    {"policy", "shadow_policy", "checkpoint", "template", "ca_file", "certificate_file", "key_file", "roots", "file"}
)
_NAME_OR_PATH_KEYS = frozenset({"model", "adapter", "description"})


class WeirSettings(ModerationSettings):
    """Everything that can be configured."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    stream: StreamSettings = Field(default_factory=StreamSettings)
    http: HttpSettings | None = None
    """The HTTP front beside the stream; null: there is none."""

    @model_validator(mode="after")
    def _require_fixed_front_behind_haproxy(self) -> Self:
        # With each change of the front's replicas a new HAProxy takes over from an old one, which may cut connections.
        front = self.serve.http
        if self.http is not None and self.http.ingress == "haproxy" and front.min_replicas != front.max_replicas:
            raise ValueError(
                "serve.http: expected as many max_replicas as min_replicas with http.ingress 'haproxy' (the models "
                f"behind the front scale), got {front.min_replicas} and {front.max_replicas}"
            )
        return self


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
    document = YamlDocument(content=None, root=None) if path is None else _read(path)
    content = {} if path is None else _with_paths_beside(path, document.content or {})
    try:
        return WeirSettings(**content)
    except ValidationError as error:
        faults = find_faults(error, WeirSettings, document, secret_words=_SECRET_WORDS)
        raise ConfigurationError("; ".join(_tell(fault, path) for fault in faults)) from None  # the cause has secrets
    except SettingsError as error:
        raise ConfigurationError(_describe_not_json(error)) from None  # the cause would show secrets


def _read(path: Path) -> YamlDocument:
    document = read_yaml_document(path, name=str(path))
    content = document.content
    if content is not None and not (isinstance(content, dict) and all(isinstance(key, str) for key in content)):
        raise ConfigurationError(f"{path}: expected a mapping of sections, got {type(content).__name__}")
    return document


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
        if not shouted.startswith(ENV_PREFIX) or shouted.startswith(_TEST_PREFIX) or shouted == _CONFIG_VARIABLE:
            continue
        if shouted.removeprefix(ENV_PREFIX).split(ENV_NESTED)[0].lower() not in WeirSettings.model_fields:
            known = ", ".join(sorted(WeirSettings.model_fields))
            raise ConfigurationError(f"environment variable {name}: unknown; expected {ENV_PREFIX} and one of: {known}")


def _describe_not_json(error: SettingsError) -> str:
    """Name the variables of the section in which one is not JSON: more of it pydantic does not tell."""
    section = re.search(r'field "(\w+)"', str(error))
    stem = ENV_PREFIX + (section[1].upper() if section else "")
    names = [name for name in sorted(os.environ) if name.upper().startswith(stem)]
    return f"environment variable {' or '.join(names)}: expected JSON for a section or a list"


def _tell(fault: Fault, path: Path | None) -> str:
    file = str(path or "configuration")
    if not fault.steps:
        return f"{file}: {fault.text}"  # of the whole: it names keys and values itself
    variable = ENV_PREFIX + ENV_NESTED.join(map(str, fault.steps)).upper()
    if any(name.upper() == variable for name in os.environ):
        return f"environment variable {variable}: {fault.text}"
    place = "" if fault.line is None else f", line {fault.line}"
    return f"{file}{place}: {fault.key}: {fault.text}"
