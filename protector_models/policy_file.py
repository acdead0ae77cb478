"""Reads a policy from its YAML file."""

from importlib import resources
from pathlib import Path

import yaml
from pydantic import ValidationError

from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.policy import Policy


def load_policy(path: Path | None) -> Policy:
    """Return the policy in a file; without a path, the default policy that comes with Weir.

    Raises:
        ConfigurationError: the file cannot be read or is not a policy; the message names file, field and value.
    """
    name = "the default policy" if path is None else str(path)
    try:
        text = _default_text() if path is None else path.read_text(encoding="utf-8")
        return Policy.model_validate(yaml.safe_load(text))
    except OSError as error:
        raise ConfigurationError(f"policy {name}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"policy {name}: not YAML in UTF-8: {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or 'file'}: {detail['msg']}, got {detail['input']!r:.80}"
            for detail in error.errors(include_url=False)
        )
        raise ConfigurationError(f"policy {name}: {faults}") from error


def _default_text() -> str:
    return resources.files("protector_models").joinpath("default_policy.yaml").read_text(encoding="utf-8")
