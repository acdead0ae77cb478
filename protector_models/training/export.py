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
from torch import Tensor, nn
from transformers import BertModel

from protector_models.detectors.harm_detector import MODEL_FILE, TOKENIZER_FILE
from protector_models.detectors.window_scorer import INPUT_NAMES
from protector_models.detoxification.edit_model import EDIT_INPUT
from protector_models.training.detector_network import DetectorNetwork, ServedNetwork
from protector_models.training.edit_network import EditNetwork, ServedEditNetwork

FP32_FILE = "model-fp32.onnx"

_OPSET = 17
_BATCH = {0: "batch"}
_BATCH_AND_TOKENS = {0: "batch", 1: "tokens"}


def export_fp32(network: DetectorNetwork, directory: Path) -> Path:
    """Writes the served detector as an fp32 ONNX graph with free batch and token axes; returns its file."""
    ids_BT = _example_ids()
    return _export(
        ServedNetwork(network),
        network.encoder,
        (ids_BT, torch.zeros_like(ids_BT)),
        directory,
        axes=dict.fromkeys(INPUT_NAMES, _BATCH_AND_TOKENS) | {"logits": _BATCH},
    )


def export_edit_fp32(network: EditNetwork, directory: Path) -> Path:
    """Writes the served edit model as an fp32 ONNX graph with free batch and token axes; returns its file."""
    return _export(
        ServedEditNetwork(network),
        network.encoder,
        (_example_ids(),),
        directory,
        axes={EDIT_INPUT: _BATCH_AND_TOKENS, "edit": _BATCH_AND_TOKENS, "tags": _BATCH_AND_TOKENS}
        | {"toxic": _BATCH, "fluent": _BATCH},
    )


def quantise(fp32_file: Path, directory: Path) -> Path:
    """Writes the int8 graph: weights of all linear layers per channel, word embeddings per tensor; returns its file.

    The products inside attention and the small heads stay in fp32. Activation scales are taken at run time from the
    text that is read, which is why a run holds one (see `protector_models.detectors.window_scorer`).
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


def _example_ids() -> Tensor:
    return torch.randint(1000, 2000, (2, 24), generator=torch.Generator().manual_seed(0))


def _export(
    served: nn.Module,
    encoder: BertModel,
    inputs: tuple[Tensor, ...],
    directory: Path,
    *,
    axes: dict[str, dict[int, str]],
) -> Path:
    """Exports a network; the first names in `axes` are its inputs', the others its outputs'.

    The encoder is switched to plain attention: the fused form exports as a detour of shape arithmetic.
    """
    encoder.set_attn_implementation("eager")
    names = list(axes)
    file = directory / FP32_FILE
    with warnings.catch_warnings():
        # The TorchScript exporter announces its successor, which would need one more dependency for the same graph.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            served.eval(),
            inputs,
            str(file),
            input_names=names[: len(inputs)],
            output_names=names[len(inputs) :],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    return file
