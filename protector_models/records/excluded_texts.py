"""Texts that are never trained on because they occur in a public benchmark, known by their hashes.

The list holds no text and training reads no benchmark: `weir eval overlap --write` made the list once from both, and a
test holds that nothing of the benchmarks is left among the training rows. Most entries are stock refusals.
"""

import hashlib
import re
from functools import cache
from pathlib import Path

EXCLUDED_TEXTS_FILE = Path(__file__).parent / "excluded_texts.txt"

_HASH_DIGITS = 16


def hash_text(text: str) -> str:
    """Returns a hash of a text's letters and digits, which case, white space and punctuation do not change."""
    canonical = re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()
    return hashlib.sha256(canonical.encode()).hexdigest()[:_HASH_DIGITS]


def is_excluded_text(text: str) -> bool:
    """Tells whether a text is on the list; a text without Latin letters and digits never is."""
    return hash_text(text) in read_hashes()


@cache
def read_hashes() -> frozenset[str]:
    """Returns the list."""
    return frozenset(EXCLUDED_TEXTS_FILE.read_text(encoding="utf-8").split())
