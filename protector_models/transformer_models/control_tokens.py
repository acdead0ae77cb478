"""Keeps texts from passing for parts of the prompt that they are put in."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def find_control_tokens(tokenizer: "PreTrainedTokenizerBase") -> set[str]:
    """Return the strings that a tokenizer does not read as text."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return {token for token in added.union(tokenizer.all_special_tokens) if len(token) > 1}


def break_up(text: str, tokens: Iterable[str]) -> str:
    """Return a text with a space inside of each of some strings, the longest first."""
    tokens = set(tokens)
    # Some models have thousands of them, and hardly any text has one: to sort them costs more than to look.
    if not any(token in text for token in tokens):
        return text
    for token in sorted(tokens, key=lambda token: (-len(token), token)):
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
