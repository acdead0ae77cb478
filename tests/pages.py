"""The pages of this project, and what they name: files, links, commands, settings."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]

PAGES = tuple(
    sorted(
        page.relative_to(PROJECT)
        for page in (
            PROJECT / "README.md",
            PROJECT / "infra" / "README.md",
            *(page for page in PROJECT.glob("docs/**/*.md") if page.name != "map.md"),
            *PROJECT.glob("protector_models/weights/*/*.md"),
        )
    )
)
"""By their paths in the project. The map is not among them: it is made from the files."""

_FENCE = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@cache
def read(page: Path) -> str:
    """Return the text of a page."""
    return (PROJECT / page).read_text()


def spans(text: str) -> list[str]:
    """Return what stands in backticks, outside of blocks of code, each on one line."""
    return [" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", text))]


def blocks_of_code(text: str) -> list[str]:
    """Return what stands in blocks of code."""
    return _FENCE.findall(text)


def lines_of_code(text: str) -> Iterator[str]:
    """Yield the lines in blocks of code; one that goes on behind a backslash is one line."""
    for block in blocks_of_code(text):
        yield from block.replace("\\\n", " ").splitlines()


def links(text: str) -> list[str]:
    """Return where links lead to within the project."""
    return [link for link in _LINK.findall(_FENCE.sub("", text)) if "://" not in link]


def anchors(text: str) -> set[str]:
    """Return what a link can name of a page: its headings in small letters, with hyphens for spaces."""
    headings = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in _HEADING.findall(_FENCE.sub("", text)))
    return {heading.strip().replace(" ", "-") for heading in headings}


def has_key(schema: Mapping[str, Any], path: str) -> bool:
    """Tell whether a JSON Schema has a key such as "stream.delivery"."""
    return _has_key(schema, path.split("."), schema)


def _has_key(node: Mapping[str, Any], path: list[str], schema: Mapping[str, Any]) -> bool:
    if not path:
        return True
    if reference := node.get("$ref"):
        return _has_key(schema["$defs"][reference.rsplit("/", maxsplit=1)[1]], path, schema)
    if path[0] in node.get("properties", {}):
        return _has_key(node["properties"][path[0]], path[1:], schema)
    if isinstance(free := node.get("additionalProperties"), Mapping):
        return _has_key(free, path[1:], schema)
    choices = (choice for kind in ("anyOf", "oneOf", "allOf") for choice in node.get(kind, ()))
    return any(_has_key(choice, path, schema) for choice in choices)
