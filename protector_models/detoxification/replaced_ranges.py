"""Ranges of a text that give way to other texts, so that those that go leave neither gap nor empty line."""

import re
from collections.abc import Sequence

_LINE_END = re.compile(r"[^\S\r\n]*(?:\r?\n|\Z)")
_SPACES = re.compile(r"[^\S\r\n]*")


def replace_ranges(text: str, places: Sequence[tuple[int, int]], replacements: Sequence[str]) -> str:
    """Return a text with other texts in place of ranges.

    A range whose replacement is blank goes, and takes its gap along: a line on which nothing else stands, with its line
    break; at the end of a line the spaces before it; elsewhere, where a space or nothing stands before it on the line,
    those behind it. No other line is touched: paragraphs and indentations stay.

    Args:
        text: what the ranges are in.
        places: [start, end) of each, in order, apart from each other.
        replacements: one for each place; the range's own characters leave everything as it is.

    Raises:
        ValueError: places and replacements differ in number.
    """
    written = ""
    done = 0
    for (start, end), replacement in zip(places, replacements, strict=True):
        written += text[done:start]
        done = end
        if replacement.strip() or replacement == text[start:end]:
            written += replacement
            continue
        line = written[written.rfind("\n") + 1 :]
        line_end = _LINE_END.match(text, end)
        if line_end and not line.strip():
            written = written[: len(written) - len(line)]
            done = line_end.end()
        elif line_end:
            written = written.rstrip(" \t")
        elif not line or line[-1].isspace():
            spaces = _SPACES.match(text, end)
            done = spaces.end() if spaces else end
    return written + text[done:]
