"""Simple rules by which an edited sentence is broken: what a deletion leaves behind, told without a model."""

import re

_SMALL_WORDS = (
    "a an the of to in on at by for from with into onto upon about under between and or but nor because if than as "
    "my your its our their"
)
_SMALL = frozenset(_SMALL_WORDS.split())
_LAST_WORD = re.compile(r"([^\W_]+)[^\w]*$")
_RULES = {
    "dangling article": re.compile(
        r"\b(?:an?|the)\s*(?:[.,;:!?)]|$)"
        r"|\b(?:an?|the)\s+(?:an?|the|of|and|or|but|between|in|on|at|to|for|with|from|is|are|was|were)\b",
        re.I,
    ),
    "dangling possessive": re.compile(
        r"\b(?:my|your|our|their|its)\s*(?:[.,;:!?]|$|(?:of|and|or|in|on|at|to|is|are|was)\b)", re.I
    ),
    "dangling you": re.compile(r",\s*you\s*[.,!?]*\s*$", re.I),
    "mark at the end": re.compile(r"[,;:(]\s*$"),
    "doubled word": re.compile(r"\b([^\W\d_]{2,})\s+\1\b", re.I),
    "doubled mark": re.compile(r"[,;:]\s*[,;:.!?]|(?<!\.)\.\s?\.(?!\.)|[!?]\s*,|\s[,;.!?](?=\s|$)"),
    "empty brackets": re.compile(r"\(\s*\)|\[\s*\]|\"\s*\"|“\s*”"),
    "wrong article": re.compile(
        r"\ban\s+(?!hour|honest|honou?r|heir|[a-z]\b|(?-i:[A-Z]{2}))[b-df-hj-np-tv-z]"
        r"|\ba\s+(?!one|once|eu|u[bnst]|us|[a-z]\b)[aeiou]",
        re.I,
    ),
    "mark in front": re.compile(r"^\s*[,;:.!?)]"),
}


def find_faults(source: str, edited: str) -> list[str]:
    """Returns the names of what is broken in an edited sentence and was not in its source.

    Args:
        source: as it was.
        edited: what an edit made of it; not empty.
    """
    faults = [name for name, rule in _RULES.items() if rule.search(edited) and not rule.search(source)]
    if _ends_small(edited) and not _ends_small(source):
        faults.append("small word at the end")
    if source.lstrip()[:1].isupper() and edited.lstrip()[:1].islower():
        faults.append("no capital")
    if not re.search(r"\w", edited):
        faults.append("no word")
    return faults


def _ends_small(text: str) -> bool:
    last = _LAST_WORD.search(text)
    return last is not None and last[1].lower() in _SMALL
