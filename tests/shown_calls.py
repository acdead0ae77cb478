"""The calls by curl that pages show, with the answers that stand below them."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from tests.pages import blocks_of_code, read

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
"""Where pages let a front be."""
_STATUS = re.compile(r"(\d{3}) (?=[{\[])")
"""Stands before an answer that was cut to what was decided."""

_REST = "..."
"""Stands in a shown answer for further keys of an object, or further items of a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCall:
    """A call of a page."""

    page: Path
    command: str
    """As a shell takes it."""
    answer: str
    """What stands below it; empty where nothing does."""

    def command_at(self, address: str) -> str:
        """Return the command for a front at another address."""
        return _ADDRESS.sub(address, self.command)

    def differences(self, answer: JsonValue) -> list[str]:
        """Return where an answer has not what is shown: keys, items, kinds of values, what is true or false."""
        if not self.answer:
            return []
        is_cut = _STATUS.match(self.answer) is not None
        return list(_compare(_read_shown(_STATUS.sub("", self.answer, count=1)), answer, "answer", is_cut=is_cut))


def shown_calls(page: Path) -> Iterator[ShownCall]:
    """Yield the calls by curl in the blocks of code of a page."""
    for block in blocks_of_code(read(page)):
        # What is typed stands behind a dollar where its output is shown too.
        has_outputs = block.startswith("$ ") or "\n$ " in block
        for typed in re.split(r"^\$ ", block, flags=re.MULTILINE) if has_outputs else [block]:
            lines = iter(typed.splitlines())
            for command in lines:
                if not command.startswith("curl "):
                    continue
                while not _is_whole(command):
                    command += "\n" + next(lines)  # noqa: PLW2901
                yield ShownCall(page=page, command=command, answer="\n".join(lines) if has_outputs else "")


def _is_whole(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:  # a quotation that goes on in the next line
        return False
    return not command.endswith("\\")


def _read_shown(answer: str) -> JsonValue:
    """Return an answer as it is shown, `...` for what is left out."""
    marked = re.sub(r"([{,\[]\s*)\.\.\.(?=\s*[}\]])", rf'\1"{_REST}"', answer)
    # In an object it is a key.
    found: JsonValue = json.loads(re.sub(rf'"{re.escape(_REST)}"(?=\s*}})', rf'"{_REST}": null', marked))
    return found


def _compare(shown: JsonValue, got: JsonValue, place: str, *, is_cut: bool) -> Iterator[str]:
    if isinstance(shown, dict) and isinstance(got, dict):
        if not (is_cut or _REST in shown):
            yield from (f"{place}.{key}" for key in sorted(set(got) - set(shown)))
        for key in [key for key in shown if key != _REST]:
            if key in got:
                yield from _compare(shown[key], got[key], f"{place}.{key}", is_cut=is_cut)
            else:
                yield f"{place}.{key}"
    elif isinstance(shown, list) and isinstance(got, list):
        items = [item for item in shown if item != _REST]
        if len(got) < len(items) or (len(got) > len(items) and len(items) == len(shown)):
            yield f"{place}: {len(got)} items"
        for position, (one, other) in enumerate(zip(items, got, strict=False)):
            yield from _compare(one, other, f"{place}[{position}]", is_cut=is_cut)
    elif type(shown) is not type(got) or (isinstance(shown, bool) and shown is not got):
        yield place
