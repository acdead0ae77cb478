"""The detector as a torch module: an encoder, vectors of pieces and of the window, linear heads over both.

Shapes: B windows, T tokens, S pieces of all windows together, H hidden units, P = 3 H pooled units, C trained
categories, K = 2 + C logits.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from protector_models.detectors.shipped.detector_heads import NUM_POOLED, DetectorHeads
from protector_models.detectors.shipped.window_aggregation import FIRST_CATEGORY
from protector_models.records.category_map import TRAINED_CATEGORIES
from protector_models.training.detector.batches import Batch
from protector_models.training.detector.pooling import pool_pieces, pool_tokens
from protector_models.training.encoders import Encoder, freeze_lowest, load_encoder, run_encoder

NUM_LOGITS = FIRST_CATEGORY + len(TRAINED_CATEGORIES)


class DetectorLogits(NamedTuple):
    """Raw scores; the sigmoid of each is in [0, 1], 1 meaning harmful."""

    pieces_SK: Tensor
    whole_BK: Tensor
    """Of the response as a whole, for what only the whole shows."""


class DetectorNetwork(nn.Module):
    """Encoder and heads.

    The word embeddings are frozen: they are half of a small encoder's parameters, and words rare in training keep their
    sense.
    """

    def __init__(self, encoder: Encoder, *, num_frozen_layers: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        num_pooled = NUM_POOLED * int(encoder.config.hidden_size)
        self.piece_head = nn.Linear(num_pooled, NUM_LOGITS)
        self.whole_head = nn.Linear(num_pooled, NUM_LOGITS)
        freeze_lowest(encoder, num_frozen_layers)

    @classmethod
    def from_pretrained(cls, directory: Path, *, num_frozen_layers: int = 0) -> "DetectorNetwork":
        """Loads the encoder from a directory of Hugging Face form, without dropout."""
        return cls(load_encoder(directory), num_frozen_layers=num_frozen_layers)

    def forward(self, batch: Batch) -> DetectorLogits:
        """Scores the pieces of windows, and the windows."""
        hidden_BTH = run_encoder(self.encoder, batch.ids_BT, batch.mask_BT, batch.segments_BT)
        pieces_SP = pool_pieces(hidden_BTH, batch.mask_BT, batch.pieces_BT, batch.windows_S)
        return DetectorLogits(
            pieces_SK=self.piece_head(pieces_SP),
            whole_BK=self.whole_head(pool_tokens(hidden_BTH, batch.mask_BT, batch.segments_BT)),
        )

    def heads(self) -> DetectorHeads:
        """Returns the heads as they are served."""
        return DetectorHeads(
            piece_weight_KP=self.piece_head.weight.detach().numpy(),
            piece_bias_K=self.piece_head.bias.detach().numpy(),
            whole_weight_KP=self.whole_head.weight.detach().numpy(),
            whole_bias_K=self.whole_head.bias.detach().numpy(),
        )


class ServedEncoder(nn.Module):
    """What is exported: the encoder's token vectors.

    It reads windows without padding, one a run, and needs no mask: see `detectors.shipped.window_scorer`. That alone is
    what keeps a score independent of other windows: those of one run share the scales of int8.
    """

    def __init__(self, network: DetectorNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_BT: Tensor, segments_BT: Tensor) -> Tensor:
        """Returns token vectors [B, T, H] of windows of one length."""
        return run_encoder(self.network.encoder, ids_BT, torch.ones_like(ids_BT), segments_BT)


def find_worst(logits_S: Tensor, windows_S: Tensor, num_windows: int) -> Tensor:
    """Returns the highest logit [B] of each window's pieces: an answer is as harmful as its worst piece."""
    lowest_B = logits_S.new_full((num_windows,), float("-inf"))
    return lowest_B.scatter_reduce(0, windows_S, logits_S, "amax", include_self=True)
