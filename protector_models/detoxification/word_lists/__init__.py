"""Lists of English words that rules of the edit model look words up in: a text file each, "#" begins a comment."""

import hashlib
from functools import cache
from pathlib import Path


def digest_lists() -> str:
    """Returns 12 hexadecimal characters that change with any of the lists."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.txt")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@cache
def read_words(name: str) -> frozenset[str]:
    """Returns a list, in lower case.

    Raises:
        OSError: there is no list of this name.
    """
    lines = (Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


@cache
def read_phrases(name: str) -> dict[str, list[tuple[str, ...]]]:
    """Returns a list of phrases, a line each, in lower case, by their first words.

    Raises:
        OSError: there is no list of this name.
    """
    lines = (Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    phrases: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        if words := tuple(line.split()) if not line.startswith("#") else ():
            phrases.setdefault(words[0], []).append(words)
    return phrases
