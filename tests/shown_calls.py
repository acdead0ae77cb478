"""The calls by curl that pages show, with the answers that stand below them."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from tests.pages import blocks_of_code, read

ADDRESS = "http://127.0.0.1:8080"
"""Where pages let a front be."""

_REST = "..."
"""Stands in a shown answer for further keys of an object, or further items of a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCall:
    """A call of a page."""

    page: Path
    command: str
    """As a shell takes it."""
    answer: str
    """What stands below it in its block; empty where nothing does."""


def shown_calls(page: Path) -> Iterator[ShownCall]:
    """Yield the calls by curl in the blocks of code of a page."""
    for block in blocks_of_code(read(page)):
        lines = iter(block.splitlines())
        for line in lines:
            command = line.removeprefix("$ ")
            if not command.startswith("curl "):
                continue
            while not _is_whole(command):
                command += "\n" + next(lines)
            is_answered = line.startswith("$ ")
            yield ShownCall(page=page, command=command, answer="\n".join(lines) if is_answered else "")


def _is_whole(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:  # a quotation that goes on in the next line
        return False
    return not command.endswith("\\")


def read_shown(answer: str) -> JsonValue:
    """Return an answer as it is shown, `...` for what is left out."""
    marked = re.sub(r"([{,\[]\s*)\.\.\.(?=\s*[}\]])", rf'\1"{_REST}"', answer)
    # In an object it is a key.
    found: JsonValue = json.loads(re.sub(rf'"{re.escape(_REST)}"(?=\s*}})', rf'"{_REST}": null', marked))
    return found


def differences(shown: JsonValue, got: JsonValue, place: str = "answer") -> list[str]:
    """Return where an answer has not what is shown: keys, items, kinds of values, and what is true or false."""
    if isinstance(shown, dict) and isinstance(got, dict):
        extra = [] if _REST in shown else sorted(set(got) - set(shown))
        below = [
            difference
            for key, value in shown.items()
            if key != _REST
            for difference in (differences(value, got[key], f"{place}.{key}") if key in got else [f"{place}.{key}"])
        ]
        return below + [f"{place}.{key}" for key in extra]
    if isinstance(shown, list) and isinstance(got, list):
        items = [item for item in shown if item != _REST]
        if len(got) < len(items) or (len(got) > len(items) and len(items) == len(shown)):
            return [f"{place}: {len(got)} items"]
        pairs = zip(items, got, strict=False)
        return [each for at, (one, other) in enumerate(pairs) for each in differences(one, other, f"{place}[{at}]")]
    if isinstance(shown, bool) or isinstance(got, bool):
        return [] if shown is got else [place]
    return [] if type(shown) is type(got) else [place]
