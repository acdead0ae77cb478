"""Attempts of a generative detoxifier: the first takes the likeliest text, later ones draw with a seed."""

import hashlib
import json

TEMPERATURE = 0.8
TOP_P = 0.95
"""Of later attempts: far enough from the first text to differ, near enough to stay with the answer."""


def derive_seed(prompt: str, response: str, attempt: int) -> int:
    """Return the seed of a further attempt, in [0, 2**31): the same for the same request, whatever its neighbours."""
    identity = json.dumps([prompt, response, attempt])
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4]) >> 1
