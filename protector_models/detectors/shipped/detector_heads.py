"""The detector's heads: from the vectors of a window's tokens to a logit for each of its pieces, and for the whole.

They run in fp32 and numpy, beside whatever engine gives the tokens' vectors: pieces are ranges of tokens, which numpy
pools in microseconds and a graph would pool by way of large tensors.

Shapes: T tokens of one window, S pieces, H hidden units, P = 3 H pooled units, K logits.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from protector_models.checkpoints.cards import CheckpointError
from protector_models.detectors.shipped.window_layout import TokenPair

HEADS_FILE = "heads.safetensors"
NUM_POOLED = 3
"""Vectors of H units that make up a pooled vector: mean over the window, mean and highest value over the piece."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowLogits:
    """What the detector says of one window: harm of an answer, of a text alone, then the categories given harm."""

    pieces_SK: Array
    whole_K: Array
    """Of the response as a whole, for what only the whole shows."""
    pooled_SP: Array | None = None
    """The pooled vectors of the pieces, behind them that of the whole, for heads that read them apart. None: the engine
    has none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DetectorHeads:
    """The linear layers over pooled vectors."""

    piece_weight_KP: Array
    piece_bias_K: Array
    whole_weight_KP: Array
    whole_bias_K: Array

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads the heads.

        Raises:
            CheckpointError: the file cannot be read, or does not hold heads.
        """
        try:
            tensors = load_file(file)
            heads = cls(**{name: tensors[name].astype(np.float32) for name in cls.__slots__})
        except (OSError, SafetensorError, KeyError) as error:
            raise CheckpointError(f"{file}: no heads of a detector: {type(error).__name__}") from error
        shape = heads.piece_weight_KP.shape
        has_one_shape = heads.whole_weight_KP.shape == shape and (
            heads.piece_bias_K.shape == heads.whole_bias_K.shape == shape[:1]
        )
        if not has_one_shape or len(shape) != 2 or shape[1] % NUM_POOLED:
            raise CheckpointError(f"{file}: expected two heads of one shape [K, 3 H], got {shape} and others")
        return heads

    def save(self, file: Path) -> None:
        """Writes the heads."""
        file.write_bytes(save({name: np.ascontiguousarray(getattr(self, name)) for name in self.__slots__}))

    @property
    def num_logits(self) -> int:
        """K."""
        return len(self.piece_bias_K)

    def score(self, hidden_TH: Array, window: TokenPair) -> WindowLogits:
        """Scores the pieces of a window, and its response as a whole.

        Args:
            hidden_TH: the encoder's output for the window.
            window: says where its pieces are.
        """
        mean_H = hidden_TH.mean(axis=0)
        pieces_SP = np.stack([_pool(hidden_TH[first:end], mean_H) for first, end in window.pieces])
        first, end = window.response
        whole_P = _pool(hidden_TH[first:end], mean_H)
        return WindowLogits(
            pieces_SK=pieces_SP @ self.piece_weight_KP.T + self.piece_bias_K,
            whole_K=self.whole_weight_KP @ whole_P + self.whole_bias_K,
            pooled_SP=np.vstack([pieces_SP, whole_P]),
        )


def _pool(tokens_TH: Array, mean_H: Array) -> Array:
    return np.concatenate([mean_H, tokens_TH.mean(axis=0), tokens_TH.max(axis=0)])
