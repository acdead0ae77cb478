"""Blocks of code in a text, in Markdown's two forms: they are never edited."""

import re

_FENCED = re.compile(r"^[ \t]*(?P<fence>```+|~~~+)[^\n]*\n.*?(?:^[ \t]*(?P=fence)[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:\A|(?<=\n))(?:(?: {4}|\t)[^\n]*(?:\n|\Z))+")
_LIST_ITEM = re.compile(r"(?: {4,}|\t+)(?:[-*+•]|\d{1,3}[.)])[ \t]")


def find_code(text: str) -> list[tuple[int, int]]:
    """Returns [start, end) of each block of code, in order.

    A block is fenced, or its lines are indented by four spaces or a tab. Indented lines that begin with the mark of a
    list item are a list within a list.
    """
    fenced = [match.span() for match in _FENCED.finditer(text)]
    indented = [
        match.span()
        for match in _INDENTED.finditer(text)
        if match[0].strip() and not _LIST_ITEM.match(match[0]) and not is_within(match.start(), match.end(), fenced)
    ]
    return sorted([*fenced, *indented])


def is_within(start: int, end: int, blocks: list[tuple[int, int]]) -> bool:
    """Tells whether [start, end) touches one of some blocks."""
    return any(start < block_end and block_start < end for block_start, block_end in blocks)
