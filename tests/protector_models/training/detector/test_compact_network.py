"""The accurate detector: a teacher in fewer bits, trained with what becomes of its weights and activations."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from protector_models.detectors.shipped.graph_weights import read_graph_weights
from protector_models.detectors.shipped.torch_window_scorer import TorchWindowScorer
from protector_models.detectors.shipped.window_layout import PairLayout
from protector_models.detectors.shipped.window_scorer import OnnxWindowScorer
from protector_models.training.detector.compact_network import cap_activations, rounding
from protector_models.training.detector.detector_network import DetectorNetwork
from protector_models.training.detector.onnx_export import export_fp32
from protector_models.training.encoders import freeze_lowest, run_encoder
from protector_models.training.export import FP32_FILE, quantise
from protector_models.training.four_bits import round_to_four_bits

pytestmark = pytest.mark.training

WINDOW = PairLayout(start_id=101, separator_id=102).join(range(3000, 3010), range(2000, 2030), [(0, 4), (4, 30)])


@pytest.fixture(scope="module")
def trained(tiny_larger_encoder: Path) -> DetectorNetwork:
    torch.manual_seed(3)
    network = DetectorNetwork.from_pretrained(tiny_larger_encoder).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def _layers(network: DetectorNetwork) -> Any:
    """The encoder's layers; torch types what they hold as modules or tensors."""
    return network.encoder.encoder.layer


def _run(network: DetectorNetwork, ids_BT: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return run_encoder(network.encoder, ids_BT, torch.ones_like(ids_BT), torch.zeros_like(ids_BT))


def _cap(network: DetectorNetwork, *, num_frozen_layers: int = 0) -> DetectorNetwork:
    compact = copy.deepcopy(network)
    freeze_lowest(compact.encoder, num_frozen_layers)
    cap_activations(compact)
    return compact


def test_no_activation_is_above_ten(trained: DetectorNetwork) -> None:
    compact = _cap(trained)
    highest: list[float] = []
    for layer in _layers(compact):
        with torch.no_grad():
            layer.intermediate.dense.bias += 50.0
        layer.output.dense.register_forward_pre_hook(lambda _, given: highest.append(float(given[0].max())))
    _run(compact, torch.tensor([WINDOW.input_ids]))
    assert highest == [10.0, 10.0]


def test_a_rounded_window_does_not_depend_on_the_others_and_is_within_half_a_step(trained: DetectorNetwork) -> None:
    given: list[torch.Tensor] = []
    rounded: list[torch.Tensor] = []
    compact = _cap(trained)
    dense = _layers(compact)[0].attention.attn.q
    assert isinstance(dense, nn.Linear)
    dense.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    alone = torch.tensor([WINDOW.input_ids])
    with rounding(compact):
        dense.register_forward_pre_hook(lambda _, inputs: rounded.append(inputs[0]))
        _run(compact, alone)
        _run(compact, torch.cat([alone, torch.randint_like(alone, 1000, 20_000)]))
    assert torch.equal(rounded[0][0], rounded[1][0])
    step = (given[0].max().clamp_min(0) - given[0].min().clamp_max(0)) / 255
    assert len(set(rounded[0].flatten().tolist())) <= 256
    assert float((rounded[0] - given[0]).abs().max()) <= 0.51 * float(step)


def test_weights_are_rounded_within_and_stay_rounded_and_inputs_do_not(trained: DetectorNetwork) -> None:
    compact = _cap(trained, num_frozen_layers=1)
    ids = torch.tensor([WINDOW.input_ids])
    plain = _run(compact, ids)
    with rounding(compact):
        rounded = _run(compact, ids)
    for layer in _layers(compact):
        weight = layer.intermediate.dense.weight.detach()
        torch.testing.assert_close(weight, round_to_four_bits(weight).restore())
    after = _run(compact, ids)
    assert not torch.equal(rounded, plain)
    assert not torch.equal(after, rounded)
    torch.testing.assert_close(_run(compact, ids), after, rtol=0, atol=0)


def test_gradients_pass_through_the_rounding(trained: DetectorNetwork) -> None:
    compact = _cap(trained)
    ids = torch.tensor([WINDOW.input_ids])
    with rounding(compact):
        hidden = run_encoder(compact.encoder, ids, torch.ones_like(ids), torch.zeros_like(ids))
    torch.autograd.backward(hidden.pow(2).sum())
    gradient = _layers(compact)[0].attention.attn.q.weight.grad
    assert gradient is not None
    assert bool(gradient.any())


def test_a_small_graph_computes_what_training_saw(trained: DetectorNetwork, tmp_path: Path) -> None:
    compact = _cap(trained)
    with rounding(compact):
        seen = _run(compact, torch.tensor([WINDOW.input_ids]))[0].numpy()
    file = quantise(export_fp32(compact, tmp_path), tmp_path, bits=4)
    assert file.stat().st_size < 0.25 * (tmp_path / FP32_FILE).stat().st_size
    (served,) = OnnxWindowScorer.load(file, compact.heads(), num_threads=1).score([WINDOW])
    expected = compact.heads().score(seen, WINDOW)
    # Words are of 4 bits, too, which training does not see.
    np.testing.assert_allclose(served.pieces_SK, expected.pieces_SK, atol=0.15)


def test_the_torch_engine_reads_the_same_network_back_from_either_graph(
    trained: DetectorNetwork, tmp_path: Path
) -> None:
    compact = _cap(trained)
    with rounding(compact):
        pass
    fp32_file = export_fp32(compact, tmp_path)
    (exact,) = OnnxWindowScorer.load(fp32_file, compact.heads(), num_threads=1).score([WINDOW])
    for file, atol in ((fp32_file, 1e-4), (quantise(fp32_file, tmp_path, bits=4), 0.15)):
        scorer = TorchWindowScorer.load(file, compact.heads(), device="cpu", num_threads=1)
        (found,) = scorer.score([WINDOW])
        np.testing.assert_allclose(found.pieces_SK, exact.pieces_SK, atol=atol)


def test_linear_weights_come_back_from_the_small_graph_as_they_were_rounded(
    trained: DetectorNetwork, tmp_path: Path
) -> None:
    compact = _cap(trained)
    with rounding(compact):
        pass
    weights = read_graph_weights(quantise(export_fp32(compact, tmp_path), tmp_path, bits=4)).encoder
    for name, module in compact.encoder.encoder.layer.named_modules():
        if isinstance(module, nn.Linear):
            found = torch.from_numpy(weights[f"encoder.layer.{name}.weight"])
            torch.testing.assert_close(found, module.weight.detach())
