"""A partial answer: harmful sentences give way to a sentence that says so, the rest is kept as it is."""

import re
from collections.abc import Sequence

from protector_models.moderation.harmful_spans import HarmfulSpan
from protector_models.moderation.model_outputs import ItemFailure

FURTHER_OMISSION = "[…]"
"""Stands for every omission after the first: one explanation is enough."""

_MARK = re.compile(r"(?:>[ \t]*)*(?:(?:[-*+•]|\d{1,3}[.)]|#{1,6})[ \t]+)?")
_CELL_LIMIT = re.compile(r"((?<!\\)\||\n)")
_RULE = re.compile(r":?-+:?")


def omit(response: str, spans: Sequence[HarmfulSpan], *, omission: str, up_to: float) -> str | ItemFailure:
    """Leave harmful spans out.

    Args:
        response: what they are in.
        spans: in order, apart from each other.
        omission: the sentence that stands for the first of them; the mark of a list item, heading or
            quotation stays before it. In rows of a table it stands in the first cell, and the others are emptied.
        up_to: the largest share of the response's characters that may be left out, in (0, 1].

    Returns:
        The partial answer. An `ItemFailure` where there is nothing to leave out, or too much.
    """
    if not spans:
        return ItemFailure(error="NothingToOmit", message="expected a harmful sentence, found none")
    share = share_of(spans, response)
    if share > up_to:
        message = f"expected at most {up_to:g} of {len(response)} characters to be harmful, found {share:.3g}"
        return ItemFailure(error="MostlyHarmful", message=message)
    parts: list[str] = []
    done = 0
    for span in spans:
        parts += (response[done : span.start], _leave_out(response, span, FURTHER_OMISSION if done else omission))
        done = span.end
    return "".join([*parts, response[done:]])


def share_of(spans: Sequence[HarmfulSpan], response: str) -> float:
    """Return the share of a response's characters that lie in spans, in [0, 1]."""
    return sum(span.end - span.start for span in spans) / max(1, len(response))


def _leave_out(response: str, span: HarmfulSpan, omission: str) -> str:
    """Return what stands in place of a span."""
    text = response[span.start : span.end]
    lines = response[response.rfind("\n", 0, span.start) + 1 : span.end].split("\n")
    if all(line.lstrip().startswith("|") for line in lines):
        cells = _CELL_LIMIT.split(text)
        harmful = [place for place, cell in enumerate(cells[::2]) if cell.strip() and not _RULE.fullmatch(cell.strip())]
        for place in harmful:
            cell = cells[2 * place]
            cells[2 * place] = cell.replace(cell.strip(), omission if place == harmful[0] else "")
        if harmful:
            return "".join(cells)
    mark = _MARK.match(text)
    return f"{mark[0] if mark else ''}{omission}"
