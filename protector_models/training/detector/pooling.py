"""From the vectors of tokens to the vectors of pieces and of a window, pooled as in `detectors.shipped.detector_heads`.

Shapes: B windows, T tokens, H hidden units, P = 3 H pooled units, S pieces of all windows together.
"""

import torch
from torch import Tensor

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
    return torch.cat([average(hidden_BTH, kept_BT1), average(hidden_BTH, response_BT1), highest_BH], dim=-1)


def pool_pieces(hidden_BTH: Tensor, mask_BT: Tensor, pieces_BT: Tensor, windows_S: Tensor) -> Tensor:
    """Returns one vector [S, P] per piece: the mean over its window, the mean and the highest value over the piece.

    A sentence is judged in the light of what stands around it: its tokens have read the others, and the window's mean
    says what all is about.

    Args:
        hidden_BTH: the encoder's output.
        mask_BT: 1 on real tokens, 0 on padding.
        pieces_BT: number of the piece that a token belongs to, counted through all windows; -1 for none.
        windows_S: the window of each piece.
    """
    num_pieces, num_units = len(windows_S), hidden_BTH.shape[-1]
    places = torch.nonzero(pieces_BT.flatten() >= 0).squeeze(-1)
    pieces_N = pieces_BT.flatten()[places]
    tokens_NH = hidden_BTH.reshape(-1, num_units)[places]
    counts_S = torch.zeros(num_pieces, dtype=hidden_BTH.dtype, device=hidden_BTH.device)
    counts_S = counts_S.index_add(0, pieces_N, torch.ones_like(pieces_N, dtype=hidden_BTH.dtype))
    sums_SH = tokens_NH.new_zeros(num_pieces, num_units).index_add(0, pieces_N, tokens_NH)
    highest_SH = tokens_NH.new_zeros(num_pieces, num_units).scatter_reduce(
        0, pieces_N.unsqueeze(-1).expand_as(tokens_NH), tokens_NH, "amax", include_self=False
    )
    windows_BH = average(hidden_BTH, mask_BT.unsqueeze(-1).to(hidden_BTH.dtype))
    return torch.cat([windows_BH[windows_S], sums_SH / counts_S.unsqueeze(-1), highest_SH], dim=-1)


def average(hidden_BTH: Tensor, kept_BT1: Tensor) -> Tensor:
    """Returns the mean [B, H] over the tokens that are kept."""
    average_BH: Tensor = (hidden_BTH * kept_BT1).sum(1) / kept_BT1.sum(1)
    return average_BH
