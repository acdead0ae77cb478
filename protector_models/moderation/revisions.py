"""Revisions of models and policies, "name@revision", made one way: digests of all that decides what comes out."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

_DIGEST_CHARACTERS = 12


def make_revision(name: str, choices: Mapping[str, object] | Sequence[object]) -> str:
    """Return "name@revision": equal revisions mean equal choices, and so equal outputs.

    Args:
        name: says which model or policy it is.
        choices: everything that decides what it puts out, as JSON can say it.
    """
    return f"{name}@{hash_choices(choices)}"


def hash_choices(choices: Mapping[str, object] | Sequence[object]) -> str:
    """Return 12 hexadecimal digits of what JSON can say; the order of keys does not matter, that of lists does."""
    return hash_text(json.dumps(choices, sort_keys=True))


def hash_text(text: str) -> str:
    """Return 12 hexadecimal digits of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def name_all(revisions: Iterable[str]) -> str | None:
    """Return the distinct revisions of one model in one string, in order; None: there are none.

    There are two only where outputs of one verdict are of the time in which the model was replaced.
    """
    return ", ".join(dict.fromkeys(revisions)) or None
