"""The categories of harm in this project's own words: every detector's are mapped to them, in data."""

from typing import Literal, get_args

HarmCategory = Literal[
    "harassment",
    "hate",
    "illicit",
    "self_harm",
    "sexual",
    "sexual_minors",
    "violence",
    "privacy",
    "deception",
    "unsafe_advice",
]
HARM_CATEGORIES: frozenset[str] = frozenset(get_args(HarmCategory))
"""All of them. Harm of which nobody says what it is is `UNSPECIFIED` in a verdict; no detector scores it."""
