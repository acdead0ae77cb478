from pathlib import Path

import numpy as np
import pytest
import torch

from protector_models.detectors.shipped.detector_heads import WindowLogits
from protector_models.detectors.shipped.torch_window_scorer import TorchWindowScorer
from protector_models.detectors.shipped.window_layout import PairLayout, TokenPair
from protector_models.detectors.shipped.window_scorer import OnnxWindowScorer
from protector_models.training.detector.answer_draws import DrawnAnswer
from protector_models.training.detector.batches import LabelledWindow, collate
from protector_models.training.detector.detector_network import DetectorNetwork
from protector_models.training.detector.onnx_export import export_fp32
from protector_models.training.export import copy_tokenizer, quantise
from tests.protector_models.training.builders import make_example

pytestmark = pytest.mark.training

LAYOUT = PairLayout(start_id=101, separator_id=102)
WINDOWS = [
    LAYOUT.join([], [2000]),
    LAYOUT.join(range(3000, 3010), range(2000, 2030), [(0, 4), (4, 17), (17, 30)]),
    # The first tokens are context.
    LAYOUT.join([], range(2000, 2030), [(8, 20), (20, 30)]),
]


@pytest.fixture(scope="module")
def network(tiny_encoder: Path) -> DetectorNetwork:
    torch.manual_seed(1)
    network = DetectorNetwork.from_pretrained(tiny_encoder).eval()
    with torch.no_grad():
        # As after training: no two tensors are equal. The exporter writes equal ones once, under one name.
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network


def _score_with_torch(network: DetectorNetwork, window: TokenPair) -> WindowLogits:
    drawn = DrawnAnswer(example=make_example(), harmful=1.0, prompt="", pieces=[], is_answer=True)
    made = LabelledWindow(drawn=drawn, window=window, piece_labels=(None,) * len(window.pieces))
    with torch.inference_mode():
        logits = network(collate([made]))
    return WindowLogits(pieces_SK=logits.pieces_SK.numpy(), whole_K=logits.whole_BK[0].numpy())


def _compare(scored: list[WindowLogits], network: DetectorNetwork, *, atol: float) -> None:
    for window, found in zip(WINDOWS, scored, strict=True):
        expected = _score_with_torch(network, window)
        np.testing.assert_allclose(found.pieces_SK, expected.pieces_SK, atol=atol)
        np.testing.assert_allclose(found.whole_K, expected.whole_K, atol=atol)


def test_graph_and_heads_give_the_logits_of_the_network(network: DetectorNetwork, tmp_path: Path) -> None:
    scorer = OnnxWindowScorer.load(export_fp32(network, tmp_path), network.heads(), num_threads=1)
    # float32 sums in another order: about 1e-6 of logits near 1.
    _compare(scorer.score(WINDOWS), network, atol=1e-4)


def test_the_torch_engine_reads_the_same_network_back_from_the_graph(network: DetectorNetwork, tmp_path: Path) -> None:
    scorer = TorchWindowScorer.load(export_fp32(network, tmp_path), network.heads(), device="cpu", num_threads=1)
    _compare(scorer.score(WINDOWS), network, atol=1e-4)


def test_int8_is_smaller_and_close(network: DetectorNetwork, tmp_path: Path) -> None:
    fp32_file = export_fp32(network, tmp_path)
    int8_file = quantise(fp32_file, tmp_path)
    assert int8_file.stat().st_size < 0.35 * fp32_file.stat().st_size
    # One layer of untrained weights: 8 bits leave errors of some hundredths in logits near 1.
    _compare(OnnxWindowScorer.load(int8_file, network.heads(), num_threads=1).score(WINDOWS), network, atol=0.15)


def test_the_tokenizer_is_copied_as_it_is(tiny_encoder: Path, tmp_path: Path) -> None:
    assert copy_tokenizer(tiny_encoder, tmp_path).read_bytes() == (tiny_encoder / "tokenizer.json").read_bytes()
