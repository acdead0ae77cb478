"""The marks that models put around what they think before they answer, in whatever case.

Tags by many names (`<think>`, `</Thinking>`, `[THINK]`), and channels, of which only the one named `final` is no
thought (`<|channel|>analysis<|message|>...<|channel|>final<|message|>`).
"""

import re

_NAMES = "think|thinking|thoughts?|reason|reasoning|analysis|reflection|scratchpad"
_MARK = re.compile(
    rf"<(?P<tag>/?)(?:[a-z]+:)?(?:{_NAMES})(?:\s[^<>]*)?>"
    r"|\[(?P<bracket>/?)think(?:ing)?\]"
    r"|◁(?P<triangle>/?)think▷"
    r"|<\|(?P<word>begin|start|end)_(?:of_)?(?:thought|think|thinking)\|>"
    r"|<\|channel\|>\s*(?P<channel>final)?(?:<\|message\|>)?",
    re.IGNORECASE,
)
_ENDS = {"tag": "/", "bracket": "/", "triangle": "/", "word": "end", "channel": "final"}
"""What a mark that ends a thought has in the group of its kind."""


def find_end_of_thought(text: str) -> int | None:
    """Return where what was thought ends: 0 where nothing was, None where the text ends while it is still thought."""
    end: int | None = 0
    for mark in _MARK.finditer(text):
        end = mark.end() if _ends_thought(mark) else None
    return end


def is_mark_of_thought(text: str) -> bool:
    """Tell whether a text is such a mark, or the token that a channel begins with, and nothing else."""
    return _MARK.fullmatch(text) is not None


def break_up_marks(text: str) -> str:
    """Return a text with a space inside of each such mark, so that a thought that quotes it is not ended by it."""
    return _MARK.sub(lambda mark: f"{mark[0][0]} {mark[0][1:]}", text)


def _ends_thought(mark: re.Match[str]) -> bool:
    return any((mark[kind] or "").casefold() == end for kind, end in _ENDS.items())
