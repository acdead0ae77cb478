"""From the logits of an exchange's windows to its scores, and those of its pieces.

- Where one window of the response stands beside several chunks of a long prompt, their logits are averaged first: the
  prompt is context, and more of it must not be more chances to be flagged.
- **An answer is as harmful as its worst piece.** The logit of a window's worst piece is lifted half the way to that of
  the whole where that is worse: some harm lies in no sentence. The others keep their own, so harmless company takes
  nothing away, and is not blamed.
- A category's score is a piece's harmfulness times the probability that the head gives the category there, given harm;
  of the exchange the highest of any piece. It never exceeds harmfulness.

Shapes: W windows of one exchange, R windows of its response, S pieces of all of them, C categories, K = 2 + C logits.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from protector_models.detectors.shipped.detector_heads import WindowLogits

AGGREGATION = "worst piece lifted half to the whole"
"""Name of the rule; part of the detector's revision."""

_SHARE_OF_WHOLE = 0.5

ANSWER, ALONE, FIRST_CATEGORY = 0, 1, 2
"""Logits in order: harm of an answer to a prompt; of a text without one; then the categories, given harm."""

Numbers = npt.NDArray[np.float64]


def join_windows(windows: Sequence[WindowLogits], response_indices: Sequence[int]) -> Numbers:
    """Returns the logits [S, K] of the pieces of a response, in order, with what the whole adds.

    Args:
        windows: of one exchange, at least one.
        response_indices: which window of the response each window holds, from 0 without gaps.
    """
    joined: list[Numbers] = []
    for index in range(max(response_indices) + 1):
        found = [window for window, held in zip(windows, response_indices, strict=True) if held == index]
        pieces_SK: Numbers = np.mean([window.pieces_SK for window in found], axis=0, dtype=np.float64)
        whole_K = np.mean([window.whole_K for window in found], axis=0, dtype=np.float64)
        lifted_SK: Numbers = pieces_SK + _SHARE_OF_WHOLE * np.maximum(whole_K - pieces_SK, 0.0)
        for head in (ANSWER, ALONE):
            is_worst_S = pieces_SK[:, head] == pieces_SK[:, head].max()
            lifted_SK[~is_worst_S, head] = pieces_SK[~is_worst_S, head]
        joined.append(lifted_SK)
    return np.concatenate(joined)


def judge_pieces(logits_SK: Numbers, head: int) -> tuple[Numbers, Numbers]:
    """Returns the harmfulness [S] of the pieces, and their scores [S, C] of the categories, each in [0, 1].

    Args:
        logits_SK: calibrated.
        head: which of the first two logits judges harm: 0 of an answer to a prompt, 1 of a text without one.
    """
    probabilities_SK = to_probability(logits_SK)
    harm_S = probabilities_SK[:, head]
    return harm_S, harm_S[:, None] * probabilities_SK[:, FIRST_CATEGORY:]


def to_probability(logits: Numbers) -> Numbers:
    """Returns the logistic function, which is written with tanh because exp overflows for logits far below zero."""
    probabilities: Numbers = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return probabilities
