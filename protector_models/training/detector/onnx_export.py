"""The trained detector as an ONNX graph."""

from pathlib import Path

import torch

from protector_models.detectors.shipped.window_scorer import INPUT_NAMES
from protector_models.training.detector.detector_network import DetectorNetwork, ServedEncoder
from protector_models.training.export import BATCH_AND_TOKENS, example_ids, export_graph


def export_fp32(network: DetectorNetwork, directory: Path) -> Path:
    """Writes the detector's encoder as an fp32 ONNX graph with free batch and token axes; returns its file."""
    ids_BT = example_ids()
    return export_graph(
        ServedEncoder(network),
        network.encoder,
        (ids_BT, torch.zeros_like(ids_BT)),
        directory,
        axes=dict.fromkeys((*INPUT_NAMES, "hidden"), BATCH_AND_TOKENS),
    )
