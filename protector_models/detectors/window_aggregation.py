"""From the logits of an exchange's windows to its scores.

- Where one window of the response stands beside several chunks of a long prompt, their logits are averaged first: the
  prompt is context, and more of it must not be more chances to be flagged.
- Harmfulness is made of the logits of the response's windows: three quarters the highest, one quarter their mean. The
  highest alone gives a long answer more chances to be flagged; the mean alone lets harmful words drown among others.
  Chosen on held-out answers of several windows (docs/experiments.md).
- A category's score is harmfulness times the highest share that a window gives it: its probability given harm, less in
  windows that are less harmful than the most harmful one. It never exceeds harmfulness.

Shapes: W windows of one exchange, R windows of its response, C categories.
"""

import numpy as np
import numpy.typing as npt

AGGREGATION = "0.75 highest"
"""Name of the rule; part of the detector's revision."""

_HIGHEST_SHARE = 0.75

Numbers = npt.NDArray[np.float64]


def aggregate_windows(
    harm_W: Numbers, categories_WC: Numbers, response_indices_W: npt.NDArray[np.int64]
) -> tuple[float, Numbers]:
    """Returns harmfulness, in [0, 1], and the scores [C] of the categories.

    Args:
        harm_W: finite logits of harm.
        categories_WC: finite logits of the categories, given harm.
        response_indices_W: which window of the response each window holds, from 0 without gaps.
    """
    harm_R = _average_by(response_indices_W, harm_W)
    probabilities_RC = _to_probability(_average_by(response_indices_W, categories_WC))
    harmfulness = _to_probability(_HIGHEST_SHARE * harm_R.max() + (1.0 - _HIGHEST_SHARE) * harm_R.mean())
    windows_R1 = _to_probability(harm_R)[:, None]
    shares_RC = windows_R1 / windows_R1.max() * probabilities_RC
    return float(harmfulness), harmfulness * shares_RC.max(axis=0)


def _to_probability(logits: Numbers) -> Numbers:
    # Written with tanh because exp overflows, and warns, for logits far below zero. Below about -37 it is zero, and the
    # most harmful window divides the others.
    probabilities: Numbers = np.maximum(0.5 * (1.0 + np.tanh(0.5 * logits)), np.finfo(np.float64).tiny)
    return probabilities


def _average_by(response_indices_W: npt.NDArray[np.int64], logits_W: Numbers) -> Numbers:
    """Returns the mean over the windows that share a window of the response, along the first axis."""
    num_responses = int(response_indices_W.max()) + 1
    return np.stack([logits_W[response_indices_W == index].mean(axis=0) for index in range(num_responses)])
