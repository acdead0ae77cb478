from pathlib import Path

import numpy as np
import pytest
import torch

from protector_models.detectors.prompts import TokenPair
from protector_models.detectors.torch_window_scorer import TorchWindowScorer
from protector_models.detectors.window_scorer import OnnxWindowScorer
from protector_models.training.detector_network import DetectorNetwork, ServedNetwork
from protector_models.training.export import copy_tokenizer, export_fp32, quantise

WINDOWS = [
    TokenPair(input_ids=[101, *range(2000, 2000 + length), 102], segment_ids=[0, *([1] * (length + 1))])
    for length in (1, 30)
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


def _score_with_torch(network: DetectorNetwork, window: TokenPair) -> list[float]:
    ids_BT = torch.tensor([window.input_ids])
    with torch.inference_mode():
        logits_BK = ServedNetwork(network)(ids_BT, torch.tensor([window.segment_ids]))
    return [float(logit) for logit in logits_BK[0]]


def test_the_exported_graph_gives_the_logits_of_the_network(network: DetectorNetwork, tmp_path: Path) -> None:
    scorer = OnnxWindowScorer.load(export_fp32(network, tmp_path), num_threads=1)
    for window, logits_K in zip(WINDOWS, scorer.score(WINDOWS), strict=True):
        assert logits_K.shape == ServedNetwork(network).bias_K.shape
        # float32 sums in another order: about 1e-6 of logits near 1.
        np.testing.assert_allclose(logits_K, _score_with_torch(network, window), atol=1e-4)


def test_the_torch_engine_reads_the_same_network_back_from_the_graph(network: DetectorNetwork, tmp_path: Path) -> None:
    scorer = TorchWindowScorer.load(export_fp32(network, tmp_path), device="cpu", num_threads=1)
    for window, logits_K in zip(WINDOWS, scorer.score(WINDOWS), strict=True):
        np.testing.assert_allclose(logits_K, _score_with_torch(network, window), atol=1e-4)


def test_int8_is_smaller_and_close(network: DetectorNetwork, tmp_path: Path) -> None:
    fp32_file = export_fp32(network, tmp_path)
    int8_file = quantise(fp32_file, tmp_path)
    assert int8_file.stat().st_size < 0.35 * fp32_file.stat().st_size
    scorer = OnnxWindowScorer.load(int8_file, num_threads=1)
    for window, logits_K in zip(WINDOWS, scorer.score(WINDOWS), strict=True):
        # One layer of untrained weights: 8 bits leave errors of some hundredths in logits near 1.
        np.testing.assert_allclose(logits_K, _score_with_torch(network, window), atol=0.15)


def test_the_tokenizer_is_copied_as_it_is(tiny_encoder: Path, tmp_path: Path) -> None:
    assert copy_tokenizer(tiny_encoder, tmp_path).read_bytes() == (tiny_encoder / "tokenizer.json").read_bytes()
