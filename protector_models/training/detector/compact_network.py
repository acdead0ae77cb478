"""A detector over the larger encoder that fits into a small file and computes in int8: how it is made and trained.

The file keeps weights of sixteen values (`training.four_bits`); what is computed with is int8, which takes one scale
for all that a layer is given. Encoders keep a few huge activations on separators and full stops, beside which
everything else would round to nothing: they are cut off. Training sees both from its first step: the layers' weights as
they will be kept, and what a layer is given as it will be rounded. Embeddings are brought to 4 bits afterwards.

Shapes: B windows, T tokens, F units of a layer's input, O outputs and I inputs of a linear layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers.activations import ACT2FN

from protector_models.training.detector.detector_network import DetectorNetwork
from protector_models.training.detector.detector_recipe import DetectorRecipe
from protector_models.training.four_bits import round_to_four_bits

ACCURATE_NAME = "weir-mpnet"
ACCURATE_RECIPE = DetectorRecipe(num_steps=600, batch_size=16, encoder_lr=5e-5, num_frozen_layers=4)
"""The teacher's own recipe, a little shorter: rounding makes a step dearer."""

_ACTIVATION = "gelu_10"
"""GELU whose values end at 10."""
_LARGEST = 255


def cap_activations(network: DetectorNetwork) -> None:
    """Change a network's encoder so that it has no activations above 10."""
    for layer in network.encoder.encoder.layer:
        # torch types what a module holds as modules or tensors.
        intermediate: Any = layer.intermediate
        intermediate.intermediate_act_fn = ACT2FN[_ACTIVATION]
    network.encoder.config.hidden_act = _ACTIVATION


@contextmanager
def rounding(network: DetectorNetwork) -> Iterator[None]:
    """Compute with the encoder's linear layers as they will be served.

    Their weights are rounded to sixteen values a block, and what they are given, window by window, to the 256 values
    that the int8 graph has; gradients pass as if nothing were rounded. Afterwards the weights are what they were
    rounded to.
    """
    linear = [module for module in network.encoder.encoder.layer.modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_pre_hook(_round_inputs) for module in linear]
    for module in linear:
        # A layer that learns nothing is rounded once.
        if module.weight.requires_grad:
            parametrize.register_parametrization(module, "weight", _RoundedWeight())
        else:
            module.weight.copy_(round_to_four_bits(module.weight).restore())
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module in linear:
            if parametrize.is_parametrized(module):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


class _RoundedWeight(nn.Module):
    def forward(self, weight_OI: Tensor) -> Tensor:
        with torch.no_grad():
            difference_OI = round_to_four_bits(weight_OI).restore() - weight_OI
        return weight_OI + difference_OI


def _round_inputs(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    # As ONNX's DynamicQuantizeLinear does it; gradients pass as if nothing were rounded.
    (given_BTF,) = inputs
    lowest_B = given_BTF.detach().amin((1, 2)).clamp_max(0.0)
    highest_B = given_BTF.detach().amax((1, 2)).clamp_min(0.0)
    scale_B = ((highest_B - lowest_B) / _LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
    zero_B = (-lowest_B / scale_B).round().to(torch.int32)
    return (torch.fake_quantize_per_channel_affine(given_BTF, scale_B, zero_B, 0, 0, _LARGEST),)
