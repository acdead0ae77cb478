"""A trained detector with fewer layers, made ready for int8: what the accurate one begins as, and how it is trained.

Int8 takes one scale for all that a layer is given. Encoders keep a few huge activations on separators and full stops,
beside which everything else would round to nothing: they are cut off, and training sees what the rest is rounded to.

Shapes: B windows, T tokens, F units of a layer's input.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from protector_models.training.detector.detector_network import DetectorNetwork
from protector_models.training.detector.detector_recipe import DetectorRecipe

ACCURATE_NAME = "weir-mpnet"
KEPT_LAYERS = (0, 1, 3, 5, 7, 9, 11)
"""Of the teacher's twelve, in order. With int8 layers and embeddings of 4 bits seven are what fits into 64 MB."""

ACCURATE_RECIPE = DetectorRecipe(num_steps=400, batch_size=24, encoder_lr=5e-5)
"""The detector's own recipe for what is trained already and has to learn to do with fewer layers."""

_ACTIVATION = "gelu_10"
"""GELU whose values end at 10."""
_LARGEST = 255


def shorten(network: DetectorNetwork, kept_layers: Sequence[int] = KEPT_LAYERS) -> DetectorNetwork:
    """Return a copy of a network that has only some of its encoder's layers, and no activations above 10 in them.

    Args:
        network: a trained one; it is not changed.
        kept_layers: places of the layers that stay, from 0, in rising order.

    Raises:
        ValueError: a layer is not there, is named twice, or they are out of order.
    """
    num_layers = len(network.encoder.encoder.layer)
    if not kept_layers or list(kept_layers) != sorted(set(kept_layers) & set(range(num_layers))):
        raise ValueError(f"kept_layers: expected rising places among {num_layers} layers, got {list(kept_layers)}")
    short = copy.deepcopy(network)
    layers = short.encoder.encoder.layer
    short.encoder.encoder.layer = nn.ModuleList(layers[place] for place in kept_layers)
    for layer in short.encoder.encoder.layer:
        # torch types what a module holds as modules or tensors.
        intermediate: Any = layer.intermediate
        intermediate.intermediate_act_fn = ACT2FN[_ACTIVATION]
    short.encoder.config.num_hidden_layers = len(kept_layers)
    short.encoder.config.hidden_act = _ACTIVATION
    return short


@contextmanager
def rounding_inputs(network: DetectorNetwork) -> Iterator[None]:
    """Round what the encoder's linear layers are given, window by window, to the 256 values that the int8 graph has."""
    linear = [module for module in network.encoder.encoder.layer.modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_pre_hook(_round) for module in linear]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _round(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    # As ONNX's DynamicQuantizeLinear does it; gradients pass as if nothing were rounded.
    (given_BTF,) = inputs
    lowest_B = given_BTF.detach().amin((1, 2)).clamp_max(0.0)
    highest_B = given_BTF.detach().amax((1, 2)).clamp_min(0.0)
    scale_B = ((highest_B - lowest_B) / _LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
    zero_B = (-lowest_B / scale_B).round().to(torch.int32)
    return (torch.fake_quantize_per_channel_affine(given_BTF, scale_B, zero_B, 0, 0, _LARGEST),)
