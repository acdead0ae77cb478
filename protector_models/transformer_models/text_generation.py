"""What every text that transformers writes here shares: draws by seed, an end once nobody waits, and its pieces.

Importing this module takes seconds.

Shapes: B texts of a run, T tokens of each so far, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.streamers import BaseStreamer


def draw_with(seeds: Sequence[int], *, temperature: float, top_p: float) -> LogitsProcessorList:
    """Return what makes the likeliest token a drawn one.

    Args:
        seeds: one for each text of the run; a text takes its randomness from its own alone.
        temperature: above 0.
        top_p: in (0, 1]; draws from the likeliest tokens that have this share together.
    """
    return LogitsProcessorList([TemperatureLogitsWarper(temperature), TopPLogitsWarper(top_p), _GumbelNoise(seeds)])


class _GumbelNoise(LogitsProcessor):
    """Adds Gumbel noise, so that the highest score is a draw from the softmax of the scores.

    Its generators are its own and live on the CPU: no other thread moves them, and every device gets the same noise.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002  # transformers' signature
        uniform_BV = torch.stack(
            [torch.rand(scores.shape[1], generator=each, dtype=torch.float64) for each in self._generators]
        ).clamp_min(1e-300)
        return scores - torch.log(-torch.log(uniform_BV)).to(scores)


class Abandoned(StoppingCriteria):
    """Ends all texts once nobody waits for them."""

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        self._is_wanted = is_wanted

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:  # noqa: ARG002, D102  # theirs
        return torch.full((len(input_ids),), not self._is_wanted(), device=input_ids.device)


class Pieces(BaseStreamer):
    """Passes an answer on as it grows. Joined, the pieces are the whole answer."""

    def __init__(self, read: Callable[[Sequence[int]], str], emit: Callable[[str], None]) -> None:
        self._read = read
        self._emit = emit
        self._ids: list[int] | None = None
        self._num_passed = 0

    def put(self, value: Tensor) -> None:
        """Take the prompt, which is not passed on, and then token after token."""
        if self._ids is None:
            self._ids = []
            return
        self._ids.extend(value.flatten().tolist())
        text = self._read(self._ids)
        # A replacement character is the beginning of a character whose other bytes are still to come.
        if not text.endswith("\ufffd"):
            self._pass_on(text)

    def end(self) -> None:
        """Pass on what was held back."""
        self._pass_on(self._read(self._ids or []))

    def _pass_on(self, text: str) -> None:
        if len(text) > self._num_passed:
            self._emit(text[self._num_passed :])
            self._num_passed = len(text)
