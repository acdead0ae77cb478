"""The texts of a policy: one for all languages or one for each, with slots that are filled in."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Discriminator, Field, Tag

Language = Annotated[str, Field(pattern="^[a-z]{2,3}$")]
"""An ISO 639 code, such as "en"."""

SlotName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]

_NotEmpty = Annotated[str, Field(min_length=1)]


_FOR_ALL, _BY_LANGUAGE = "(text)", "(by language)"
TEXT_FORMS = (_FOR_ALL, _BY_LANGUAGE)
"""What pydantic calls the two forms of a text where it says what is wrong with one: no keys of the file."""


def _form(value: object) -> str:
    return _BY_LANGUAGE if isinstance(value, Mapping) else _FOR_ALL


PolicyText = Annotated[
    Annotated[_NotEmpty, Tag(_FOR_ALL)] | Annotated[dict[Language, _NotEmpty], Tag(_BY_LANGUAGE)],
    Discriminator(_form),
]
"""A text for all languages, or one for each of some. `{name}` in it stands for a slot."""

_SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def require_usable_texts(
    texts: Mapping[str, Mapping[str, PolicyText]], slots: Mapping[str, PolicyText], *, default_language: str
) -> None:
    """Refuse texts that could not be delivered as they are meant.

    Args:
        texts: by field and category.
        slots: what stands for each slot.
        default_language: the language that every text by language must have.

    Raises:
        ValueError: a text has no version in the default language, a slot that nobody fills, or braces that are no slot.
            The message names the text.
    """
    for field, by_category in texts.items():
        for category, text in by_category.items():
            for name, version in _versions(text, f"{field}.{category}", default_language=default_language):
                _require_slots(version, name, slots)
    for slot, text in slots.items():
        for name, version in _versions(text, f"slots.{slot}", default_language=default_language):
            _require_no_braces(version, name)


def find_used_slots(texts: Iterable[PolicyText]) -> set[str]:
    """Return the slots that stand in some version of some text."""
    versions = (version for text in texts for version in ([text] if isinstance(text, str) else text.values()))
    return {slot for version in versions for slot in _SLOT.findall(version)}


def fill_in(text: PolicyText, language: str | None, slots: Mapping[str, PolicyText], *, default_language: str) -> str:
    """Return a text in a language, its slots filled in; what is not there in it is taken in the default language."""

    def choose(versions: PolicyText) -> str:
        if isinstance(versions, str):
            return versions
        return versions.get(language or default_language, versions[default_language])

    return _SLOT.sub(lambda slot: choose(slots[slot[1]]), choose(text))


def _versions(text: PolicyText, name: str, *, default_language: str) -> list[tuple[str, str]]:
    if isinstance(text, str):
        return [(name, text)]
    if default_language not in text:
        raise ValueError(f"{name}: expected a text in the default language {default_language!r}, got {sorted(text)}")
    return [(f"{name}.{language}", version) for language, version in text.items()]


def _require_slots(text: str, name: str, slots: Mapping[str, PolicyText]) -> None:
    if unknown := sorted(set(_SLOT.findall(text)) - set(slots)):
        raise ValueError(f"{name}: slot {{{unknown[0]}}}: expected one of slots: {', '.join(sorted(slots)) or 'none'}")
    _require_no_braces(_SLOT.sub("", text), name)


def _require_no_braces(text: str, name: str) -> None:
    if brace := re.search(r"[{}].{0,20}", text):
        raise ValueError(f"{name}: braces: expected a slot such as {{crisis_line}}, got {brace[0]!r}")
