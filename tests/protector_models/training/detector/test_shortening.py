"""The accurate detector: a teacher with fewer layers, trained with what int8 makes of its activations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from protector_models.detectors.shipped.torch_window_scorer import TorchWindowScorer
from protector_models.detectors.shipped.window_layout import PairLayout
from protector_models.detectors.shipped.window_scorer import OnnxWindowScorer
from protector_models.training.detector.detector_network import DetectorNetwork
from protector_models.training.detector.onnx_export import export_fp32
from protector_models.training.detector.shortening import rounding_inputs, shorten
from protector_models.training.encoders import run_encoder
from protector_models.training.export import quantise

pytestmark = pytest.mark.training

WINDOW = PairLayout(start_id=101, separator_id=102).join(range(3000, 3010), range(2000, 2030), [(0, 4), (4, 30)])


@pytest.fixture(scope="module")
def teacher(tiny_larger_encoder: Path) -> DetectorNetwork:
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


def test_a_shortened_network_has_the_layers_that_were_kept_and_the_teacher_keeps_all(teacher: DetectorNetwork) -> None:
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    short = shorten(teacher, [1])
    assert len(_layers(short)) == short.encoder.config.num_hidden_layers == 1
    kept = _layers(short)[0].state_dict()
    assert all(torch.equal(kept[name], before[f"encoder.encoder.layer.1.{name}"]) for name in kept)
    with torch.no_grad():
        short.piece_head.weight.zero_()
        _layers(short)[0].output.dense.weight.zero_()
    after = teacher.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("places", [(), (2,), (-1,), (1, 0), (0, 0)])
def test_layers_that_are_not_there_are_refused(teacher: DetectorNetwork, places: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected rising places among 2 layers"):
        shorten(teacher, places)


def test_no_activation_is_above_ten(teacher: DetectorNetwork) -> None:
    short = shorten(teacher, [0, 1])
    highest: list[float] = []
    for layer in _layers(short):
        with torch.no_grad():
            layer.intermediate.dense.bias += 50.0
        layer.output.dense.register_forward_pre_hook(lambda _, given: highest.append(float(given[0].max())))
    _run(short, torch.tensor([WINDOW.input_ids]))
    assert highest == [10.0, 10.0]


def test_a_rounded_window_does_not_depend_on_the_others_and_is_within_half_a_step(teacher: DetectorNetwork) -> None:
    given: list[torch.Tensor] = []
    rounded: list[torch.Tensor] = []
    short = shorten(teacher, [0])
    dense = _layers(short)[0].attention.attn.q
    assert isinstance(dense, nn.Linear)
    dense.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    alone = torch.tensor([WINDOW.input_ids])
    with rounding_inputs(short):
        dense.register_forward_pre_hook(lambda _, inputs: rounded.append(inputs[0]))
        _run(short, alone)
        _run(short, torch.cat([alone, torch.randint_like(alone, 1000, 20_000)]))
    assert torch.equal(rounded[0][0], rounded[1][0])
    step = (given[0].max().clamp_min(0) - given[0].min().clamp_max(0)) / 255
    assert len(set(rounded[0].flatten().tolist())) <= 256
    assert float((rounded[0] - given[0]).abs().max()) <= 0.51 * float(step)


def test_nothing_is_rounded_afterwards(teacher: DetectorNetwork) -> None:
    short = shorten(teacher, [0, 1])
    ids = torch.tensor([WINDOW.input_ids])
    plain = _run(short, ids)
    with rounding_inputs(short):
        assert not torch.equal(_run(short, ids), plain)
    assert torch.equal(_run(short, ids), plain)


def test_gradients_pass_through_the_rounding(teacher: DetectorNetwork) -> None:
    short = shorten(teacher, [0, 1])
    ids = torch.tensor([WINDOW.input_ids])
    with rounding_inputs(short):
        hidden = run_encoder(short.encoder, ids, torch.ones_like(ids), torch.zeros_like(ids))
    torch.autograd.backward(hidden.pow(2).sum())
    gradient = _layers(short)[0].attention.attn.q.weight.grad
    assert gradient is not None
    assert bool(gradient.any())


def test_the_graph_of_small_words_is_smaller_and_close(teacher: DetectorNetwork, tmp_path: Path) -> None:
    short = shorten(teacher, [0, 1])
    fp32_file = export_fp32(short, tmp_path)
    file = quantise(fp32_file, tmp_path, embedding_bits=4)
    # Nearly all of this encoder are words.
    assert file.stat().st_size < 0.25 * fp32_file.stat().st_size
    (exact,) = OnnxWindowScorer.load(fp32_file, short.heads(), num_threads=1).score([WINDOW])
    (served,) = OnnxWindowScorer.load(file, short.heads(), num_threads=1).score([WINDOW])
    np.testing.assert_allclose(served.pieces_SK, exact.pieces_SK, atol=0.15)


def test_the_torch_engine_reads_the_same_network_back_from_either_graph(
    teacher: DetectorNetwork, tmp_path: Path
) -> None:
    short = shorten(teacher, [0, 1])
    fp32_file = export_fp32(short, tmp_path)
    (exact,) = OnnxWindowScorer.load(fp32_file, short.heads(), num_threads=1).score([WINDOW])
    for file, atol in ((fp32_file, 1e-4), (quantise(fp32_file, tmp_path, embedding_bits=4), 0.15)):
        scorer = TorchWindowScorer.load(file, short.heads(), device="cpu", num_threads=1)
        (found,) = scorer.score([WINDOW])
        np.testing.assert_allclose(found.pieces_SK, exact.pieces_SK, atol=atol)
