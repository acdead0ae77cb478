"""Reads a policy from its YAML file."""

from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.policy import Policy
from protector_models.yaml_file import read_yaml

_DEFAULT = resources.files("protector_models").joinpath("default_policy.yaml")


def load_policy(path: Path | None) -> Policy:
    """Return the policy in a file; without a path, the default policy that comes with Weir.

    Raises:
        ConfigurationError: the file cannot be read or is not a policy; the message names file, field and value.
    """
    name = "the default policy" if path is None else f"policy {path}"
    content = read_yaml(path or _DEFAULT, name=name)
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or 'file'}: {detail['msg']}, got {detail['input']!r:.80}"
            for detail in error.errors(include_url=False)
        )
        raise ConfigurationError(f"{name}: {faults}") from error
