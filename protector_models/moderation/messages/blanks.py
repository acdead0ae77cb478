"""Whether a value says anything: a text may be there of which nobody sees a character."""

import re
import unicodedata

from pydantic import JsonValue

_UNSEEN_LETTERS = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and signs that are drawn as nothing."""
PASSED_OVER = frozenset(
    {
        *("reasoning", "reasoning_content", "reasoning_details", "thinking", "thinking_blocks", "thought", "tool_plan"),
        *("signature", "thoughtSignature", "thought_signature", "encrypted_content", "cache_control", "title"),
        *("annotations", "citations", "citationMetadata", "groundingMetadata", "safetyRatings", "provider_metadata"),
        *("logprobs", "logprobsResult", "usage", "usage_metadata", "response_metadata", "metadata", "providerMetadata"),
        *("provider_specific_fields", "created", "created_at", "createdAt", "timestamp"),
    }
)
"""Fields in which nothing is said to the user: a model's thoughts, and what is known of an answer."""
_STATES = frozenset(
    {
        *("id", "index", "status", "state", "model", "weight", "example", "prefix", "object", "container_id"),
        *("finish_reason", "finishReason", "stop_reason", "stop_sequence", "avgLogprobs", "block_type", "detail"),
    }
)
"""Fields in which a single word says nothing."""
_PIECE_CHARACTERS = 1_000
_TOKEN = re.compile(r"[A-Za-z0-9_.:/+=-]{1,64}")


def is_blank(text: str) -> bool:
    """Tell whether nothing of a text is seen: blanks, format characters, and marks that stand on no letter."""
    if not text or text.isspace():
        return True
    if not _is_unseen(text[0]):  # as in nearly every text
        return False
    # In a long text there are few that differ, and a set of them is made in little time.
    pieces = (text[place : place + _PIECE_CHARACTERS] for place in range(0, len(text), _PIECE_CHARACTERS))
    return all(_is_unseen(character) for piece in pieces for character in set(piece))


def _is_unseen(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "ZM" or category in {"Cc", "Cf"} or character in _UNSEEN_LETTERS


def is_there(value: JsonValue) -> bool:
    """Tell whether a field has a value: a text that is not blank, an array or object that is not empty, any number."""
    return not is_blank(value) if isinstance(value, str) else value is not None and value not in ([], {})


def holds_something(value: JsonValue) -> bool:
    """Tell whether a value is a text that is not blank, or an array or object that is not empty."""
    return isinstance(value, str | list | dict) and is_there(value)


def may_say(value: JsonValue) -> bool:
    """Tell whether a value has a text in it that is more than a token, such as an id, a time or the name of a state."""
    if isinstance(value, str):
        return not is_blank(value) and not _TOKEN.fullmatch(value)
    if isinstance(value, list):
        return any(map(may_say, value))
    return isinstance(value, dict) and any(may_say(part) for member in value.items() for part in member)


def may_hold_content(name: str, value: JsonValue) -> bool:
    """Tell whether something may be said in a field that is not known, of a message or part that says nothing else."""
    if name in PASSED_OVER:
        return False
    return may_say(value) if name in _STATES else holds_something(value)


def may_hold_more(name: str, value: JsonValue) -> bool:
    """Tell whether something may be said in a field that is not known, of a part that says something else."""
    return name not in PASSED_OVER and may_say(value)
