"""From the trained network to the files that are served: torch to ONNX, ONNX to int8, tokenizer, card.

Shapes: B windows, T tokens.
"""

import shutil
import warnings
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]  # ships no types
from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]  # ships no types

from protector_models.harm_detector import MODEL_FILE, TOKENIZER_FILE
from protector_models.training.detector_network import DetectorNetwork, ServedNetwork
from protector_models.window_scorer import INPUT_NAMES

FP32_FILE = "model-fp32.onnx"

_OPSET = 17


def export_fp32(network: DetectorNetwork, directory: Path) -> Path:
    """Writes the served network as an fp32 ONNX graph with free batch and token axes; returns its file.

    The encoder is switched to plain attention: the fused form exports as a detour of shape arithmetic.
    """
    network.encoder.set_attn_implementation("eager")
    served = ServedNetwork(network).eval()
    ids_BT = torch.randint(1000, 2000, (2, 24), generator=torch.Generator().manual_seed(0))
    inputs = (ids_BT, torch.zeros_like(ids_BT))
    file = directory / FP32_FILE
    axes = {name: {0: "batch", 1: "tokens"} for name in INPUT_NAMES} | {"logits": {0: "batch"}}
    with warnings.catch_warnings():
        # The TorchScript exporter announces its successor, which would need one more dependency for the same graph.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            served,
            inputs,
            str(file),
            input_names=list(INPUT_NAMES),
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    return file


def quantise(fp32_file: Path, directory: Path) -> Path:
    """Writes the int8 graph: weights of all linear layers per channel, word embeddings per tensor; returns its file.

    The products inside attention and the heads stay in fp32. Activation scales are taken at run time from the window
    that is read, which is why a run holds one window (see `protector_models.window_scorer`).
    """
    prepared = directory / "model-prepared.onnx"
    quant_pre_process(str(fp32_file), str(prepared), skip_symbolic_shape=True)
    graph = onnx.load(str(prepared)).graph
    weights = {tensor.name for tensor in graph.initializer}
    linear = [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    embeddings = [node.name for node in graph.node if node.op_type == "Gather" and "word_embeddings" in node.input[0]]
    if not linear or not embeddings:
        raise ValueError(f"{fp32_file}: found {len(linear)} linear layers and {len(embeddings)} word embeddings")
    file = directory / MODEL_FILE
    quantize_dynamic(
        str(prepared),
        str(file),
        op_types_to_quantize=["MatMul", "Gather"],
        nodes_to_quantize=linear + embeddings,
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()
    return file


def copy_tokenizer(encoder_directory: Path, directory: Path) -> Path:
    """Copies the tokenizer beside the weights, so that the served directory needs nothing else; returns its file."""
    return Path(shutil.copyfile(encoder_directory / TOKENIZER_FILE, directory / TOKENIZER_FILE))
