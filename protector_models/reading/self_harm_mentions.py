"""Whether a text speaks of suicide, self-injury or eating disorders: words, read only beside a score of harm."""

import re

SELF_HARM_MENTIONS = "self-harm-3 in normal form"
"""Name of the list; part of the detector's revision."""

_SELF_HARM = re.compile(
    # Not what only bears the name: films, cards, doors of cars, attacks, careers.
    r"(?<!career )(?<!political )(?<!social )(?<!commercial )suicid"
    r"(?!(?:e|al)[- ](?:squad|missions?|bomb\w*|vests?|attackers?|doors?|kings?"
    r"|attacks?(?! (?:you|me|him|her|us|them|my|the|a)\b)"
    r"|runs?(?! (?:in|through)\b)|sprints?|burns?|queens?)\b)"
    r"|self[- ]?harm|\bkill(?:ing)? (?:my|your|him|her|them)sel|\bcut(?:ting)? (?:my|your)self"
    r"|\bend (?:my|your) (?:own )?life|anorexi|bulimi|\bstarv(?:e|ing) (?:my|your)self",
    re.IGNORECASE,
)


def speaks_of_self_harm(text: str) -> bool:
    """Tells whether a text, in normal form, has one of the words; of itself that says nothing about harm."""
    return _SELF_HARM.search(text) is not None
