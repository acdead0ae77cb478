"""From the vectors of tokens to the vector of a window: training, export and the torch engine all call it.

Shapes: B windows, T tokens, H hidden units, P = 3 H pooled units.
"""

import torch
from torch import Tensor

NUM_POOLED = 3
"""Vectors of H units that make up a window's vector."""

# Subtracted from token vectors that do not take part in a maximum; they are normalised, so none comes near it.
_FAR_BELOW = 1e4


def pool_tokens(hidden_BTH: Tensor, mask_BT: Tensor, segments_BT: Tensor) -> Tensor:
    """Returns one vector [B, P] per window.

    The mean over the window says what it is about, the mean over the response what the answer is about, and the highest
    value over the response lets one sentence speak for itself.

    Args:
        hidden_BTH: the encoder's output.
        mask_BT: 1 on real tokens, 0 on padding.
        segments_BT: 1 on the response's half. The separator at its end belongs to it, so an empty response has a
            vector too.
    """
    kept_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTH.dtype)
    response_BT1 = kept_BT1 * segments_BT.unsqueeze(-1).to(hidden_BTH.dtype)
    highest_BH = (hidden_BTH - (1.0 - response_BT1) * _FAR_BELOW).amax(1)
    return torch.cat([_average(hidden_BTH, kept_BT1), _average(hidden_BTH, response_BT1), highest_BH], dim=-1)


def _average(hidden_BTH: Tensor, kept_BT1: Tensor) -> Tensor:
    average_BH: Tensor = (hidden_BTH * kept_BT1).sum(1) / kept_BT1.sum(1)
    return average_BH
