"""A policy, read from its YAML file."""

from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.policy.texts import TEXT_FORMS
from protector_models.policies.yaml_faults import Fault, find_faults
from protector_models.policies.yaml_file import YamlDocument, parse_yaml_document, read_yaml_document

_DEFAULT = resources.files("protector_models.policies").joinpath("default_policy.yaml")


class PolicyFileError(ConfigurationError):
    """A YAML file that is no policy. The message names file, line, field and value of all that is wrong."""

    def __init__(self, message: str, faults: tuple[Fault, ...] = ()) -> None:
        """Say what is wrong.

        Args:
            message: all of it, in one line.
            faults: one by one; their steps are keys of the file.
        """
        super().__init__(message, faults)
        self.faults = faults

    def __str__(self) -> str:
        """Return the message."""
        return str(self.args[0])


def load_policy(path: Path | None) -> Policy:
    """Return the policy in a file; without a path, the default policy that comes with Weir.

    Raises:
        ConfigurationError: the file cannot be read or is not a policy; the message names file, line, field and value.
    """
    if path is None:
        return _load_default()
    name = _name(path)
    return _validate(read_yaml_document(path, name=name), name=name)


def parse_policy(content: bytes, path: Path) -> Policy:
    """Return the policy that the bytes of a file are; errors as in `load_policy`."""
    return _validate(parse_yaml_document(content, name=_name(path)), name=_name(path))


@cache
def _load_default() -> Policy:
    # Once: YAML is slow to read, and what comes with Weir does not change.
    name = "the default policy"
    return _validate(read_yaml_document(_DEFAULT, name=name), name=name)


def _name(path: Path) -> str:
    return f"policy {path}"


def _validate(document: YamlDocument, *, name: str) -> Policy:
    try:
        return Policy.model_validate(document.content)
    except ValidationError as error:
        faults = tuple(map(_as_written, find_faults(error, Policy, document)))
        colon = ":" if faults[0].line is None else ","
        raise PolicyFileError(f"{name}{colon} {'; '.join(map(_tell, faults))}", faults) from error


def _as_written(fault: Fault) -> Fault:
    return replace(fault, steps=tuple(step for step in fault.steps if step not in TEXT_FORMS))


def _tell(fault: Fault) -> str:
    place = "" if fault.line is None else f"line {fault.line}: "
    return f"{place}{fault.key}: {fault.text}" if fault.steps else f"{place}{fault.text}"
