"""A partial answer: harmful sentences give way to a sentence that says so, the rest is kept as it is."""

import re
from collections.abc import Sequence

from protector_models.moderation.harmful_spans import HarmfulSpan
from protector_models.moderation.verdict import ItemFailure

FURTHER_OMISSION = "[…]"
"""Stands for every omission after the first: one explanation is enough."""

_LIST_MARK = re.compile(r"(?:[-*+•]|\d{1,3}[.)]|#{1,6})[ \t]+")


def omit(response: str, spans: Sequence[HarmfulSpan], *, omission: str, up_to: float) -> str | ItemFailure:
    """Leave harmful spans out.

    Args:
        response: what they are in.
        spans: in order, apart from each other.
        omission: the sentence that stands for the first of them; the mark of a list item or heading stays before it.
        up_to: the largest share of the response's characters that may be left out, in (0, 1].

    Returns:
        The partial answer. An `ItemFailure` where there is nothing to leave out, or too much.
    """
    num_harmful = sum(span.end - span.start for span in spans)
    if not spans:
        return ItemFailure(error="NothingToOmit", message="expected a harmful sentence, found none")
    if num_harmful > up_to * len(response):
        message = f"expected at most {up_to:g} of {len(response)} characters to be harmful, found {num_harmful}"
        return ItemFailure(error="MostlyHarmful", message=message)
    parts: list[str] = []
    done = 0
    for span in spans:
        mark = _LIST_MARK.match(response, span.start, span.end)
        kept_up_to = mark.end() if mark else span.start
        parts += (response[done:kept_up_to], FURTHER_OMISSION if done else omission)
        done = span.end
    return "".join([*parts, response[done:]])
