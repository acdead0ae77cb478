"""Weights of sixteen values: each block of a linear layer's inputs has a factor of its own, each output a scale.

As Q4_0 of ggml has it, the weight of a block that is furthest from zero becomes -8, with a factor of its own sign
turned: all sixteen values are used. What is computed with is int8, between -64 and 64:

    int8 = round(value * eighths / 8),    weight = int8 * scale

64 and not 127, because processors without VNNI add two products in 16 bits, and what does not fit there is cut off: so
the numbers are the same on all of them. Rounding twice changes nothing.

Shapes: O outputs, I inputs of a linear layer, N blocks of its inputs.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

BLOCK_SIZE = 32
"""Inputs that share a factor."""

_LOWEST, _HIGHEST = -8, 7
_EIGHTHS = 8.0
_LARGEST_INT8 = 64.0


class FourBitWeights(NamedTuple):
    """A linear layer's weights as they are kept, in float32."""

    values_OI: Tensor
    """Whole numbers from -8 to 7."""
    eighths_ON: Tensor
    """Factors of the blocks, times eight: whole numbers from -64 to 64; 0 where a block is too small to matter."""
    scales_O: Tensor
    """Of int8, greater than 0."""

    def restore(self) -> Tensor:
        """Returns the weights [O, I] that are computed with."""
        factors_OI = _repeat(self.factors(), self.values_OI.shape[1])
        return (self.values_OI * factors_OI).round() * self.scales_O.unsqueeze(1)

    def factors(self) -> Tensor:
        """Returns the blocks' factors [O, N] from values to int8; 16 bits hold each of them exactly."""
        return self.eighths_ON / _EIGHTHS


def round_to_four_bits(weight_OI: Tensor) -> FourBitWeights:
    """Rounds a linear layer's weights; the last block may be shorter than the others."""
    num_inputs = weight_OI.shape[1]
    padded = functional.pad(weight_OI, (0, -num_inputs % BLOCK_SIZE))
    blocks_ONb = padded.reshape(len(weight_OI), -1, BLOCK_SIZE)
    furthest_ON = blocks_ONb.gather(2, blocks_ONb.abs().argmax(2, keepdim=True)).squeeze(2)
    largest_O = furthest_ON.abs().amax(1)
    scales_O = torch.where(largest_O == 0.0, 1.0, largest_O / _LARGEST_INT8)
    eighths_ON = (-furthest_ON / scales_O.unsqueeze(1)).round()
    steps_ON = torch.where(eighths_ON == 0.0, torch.inf, eighths_ON / _EIGHTHS) * scales_O.unsqueeze(1)
    values_OI = (weight_OI / _repeat(steps_ON, num_inputs)).round().clamp(_LOWEST, _HIGHEST)
    return FourBitWeights(values_OI, eighths_ON, scales_O)


def _repeat(blocks_ON: Tensor, num_inputs: int) -> Tensor:
    return blocks_ON.repeat_interleave(BLOCK_SIZE, dim=1)[:, :num_inputs]
