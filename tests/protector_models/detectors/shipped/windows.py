"""Windows of random tokens, with prompts and pieces of all sizes."""

import random
from collections.abc import Sequence
from itertools import pairwise

from protector_models.detectors.shipped.detector_heads import WindowLogits
from protector_models.detectors.shipped.window_layout import MAX_PROMPT_TOKENS, PairLayout, TokenPair

LAYOUT = PairLayout(start_id=101, separator_id=102)
"""Of the shipped vocabulary."""


def make_windows(lengths: Sequence[int], *, seed: int) -> list[TokenPair]:
    """Make a window for each number of response tokens, at most 160; every other one has a prompt."""
    rng = random.Random(seed)
    return [
        _make(rng, num_prompt=(place % 2) * rng.randint(1, MAX_PROMPT_TOKENS), num_response=length)
        for place, length in enumerate(lengths)
    ]


def as_bytes(logits: WindowLogits) -> bytes:
    """Return all logits of a window, bit by bit."""
    return logits.pieces_SK.tobytes() + logits.whole_K.tobytes()


def _make(rng: random.Random, *, num_prompt: int, num_response: int) -> TokenPair:
    prompt, response = ([rng.randrange(1000, 30_000) for _ in range(number)] for number in (num_prompt, num_response))
    edges = sorted({0, *rng.choices(range(num_response + 1), k=4), num_response})
    return LAYOUT.join(prompt, response, list(pairwise(edges)))
