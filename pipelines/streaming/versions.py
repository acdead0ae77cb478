"""What a dead letter says of the program, policy and models in whose hands its record was."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Protocol
from urllib.parse import quote, unquote

from protector_models.moderation.policy.policy import Policy

Versions = Callable[[], Mapping[str, str]]
"""Tells names and versions as they are now: asked for each letter, since models get new revisions while this runs."""


class HasRevision(Protocol):
    """A model, near or behind a deployment."""

    @property
    def revision(self) -> str:
        """Return the "name@revision" that answered last."""


def versions_in_use(policy: Policy, models: Mapping[str, HasRevision | None]) -> dict[str, str]:
    """Return the versions of program, policy and models.

    Args:
        policy: the one in force.
        models: by the names that verdicts use in `model_revisions`; None where one is switched off.
    """
    revisions = {name: model.revision for name, model in models.items() if model is not None}
    return {"weir": version("weir"), "policy": policy.revision, **revisions}


def encode_versions(versions: Mapping[str, str]) -> str:
    """Write versions as "name=version", sorted and separated by spaces; a space or % in one is %20 or %25."""
    return " ".join(f"{name}={_quoted(text)}" for name, text in sorted(versions.items()))


def decode_versions(text: str) -> dict[str, str]:
    """Read what `encode_versions` has written."""
    return {name: unquote(value) for name, _, value in (entry.partition("=") for entry in text.split())}


def _quoted(text: str) -> str:
    return "".join(quote(character) if character == "%" or character.isspace() else character for character in text)
