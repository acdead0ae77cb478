"""A policy, read from its YAML file."""

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from pydantic import ValidationError

from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.policy.texts import TEXT_FORMS
from protector_models.policies.yaml_faults import Fault, find_faults
from protector_models.policies.yaml_file import read_yaml_document

_DEFAULT = resources.files("protector_models.policies").joinpath("default_policy.yaml")


def load_policy(path: Path | None) -> Policy:
    """Return the policy in a file; without a path, the default policy that comes with Weir.

    Raises:
        ConfigurationError: the file cannot be read or is not a policy; the message names file, line, field and value.
    """
    return _load_default() if path is None else _read(path, name=f"policy {path}")


@cache
def _load_default() -> Policy:
    # Once: YAML is slow to read, and what comes with Weir does not change.
    return _read(_DEFAULT, name="the default policy")


def _read(file: Path | Traversable, *, name: str) -> Policy:
    document = read_yaml_document(file, name=name)
    try:
        return Policy.model_validate(document.content)
    except ValidationError as error:
        faults = find_faults(error, Policy, document)
        colon = ":" if faults[0].line is None else ","
        raise ConfigurationError(f"{name}{colon} {'; '.join(map(_tell, faults))}") from error


def _tell(fault: Fault) -> str:
    place = "" if fault.line is None else f"line {fault.line}: "
    key = ".".join(str(step) for step in fault.steps if step not in TEXT_FORMS)
    return f"{place}{key}: {fault.text}" if key else f"{place}{fault.text}"
