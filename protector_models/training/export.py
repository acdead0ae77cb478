"""From a trained network to files that are served: torch to ONNX, ONNX to int8, tokenizer.

Shapes: B windows, T tokens.
"""

import shutil
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]  # ships no types
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer  # type: ignore[import-untyped]
from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn
from transformers import PreTrainedModel

from protector_models.detectors.shipped.weights_in_use import MODEL_FILE, TOKENIZER_FILE
from protector_models.training.four_bits import BLOCK_SIZE, round_to_four_bits

FP32_FILE = "model-fp32.onnx"

Bits = Literal[4, 8]

_OPSET = 17
_EMBEDDING_BLOCK_SIZE = 128
BATCH = {0: "batch"}
"""The axes of one vector a run."""
BATCH_AND_TOKENS = {0: "batch", 1: "tokens"}
"""The axes of one vector a token."""


def quantise(fp32_file: Path, directory: Path, *, bits: Bits = 8) -> Path:
    """Writes the int8 graph: weights of all linear layers per channel, word embeddings per tensor; returns its file.

    The products inside attention and the small heads stay in fp32. Activation scales are taken at run time from the
    text that is read, which is why a run holds one (see `protector_models.detectors.shipped.window_scorer`).

    Args:
        fp32_file: as `export_graph` wrote it.
        directory: where the graph goes.
        bits: of a weight and of a number of an embedding in the file. With 4, both stand in blocks with scales of their
            own. Weights become int8 when the graph is loaded (`training.four_bits` says how they are rounded); words
            and positions, of which a text reads few, are unpacked as they are read.

    Raises:
        ValueError: the graph has no linear layers, or not one table of words.
    """
    prepared = directory / "model-prepared.onnx"
    quant_pre_process(str(fp32_file), str(prepared), skip_symbolic_shape=True)
    model = onnx.load(str(prepared))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    linear = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    gathers = [node for node in model.graph.node if node.op_type == "Gather"]
    words = [node.name for node in gathers if "word_embeddings" in node.input[0]]
    positions = [node.name for node in gathers if "position_embeddings" in node.input[0]]
    if not linear or len(words) != 1:
        raise ValueError(f"{fp32_file}: found {len(linear)} linear layers and {len(words)} tables of words")
    file = directory / MODEL_FILE
    quantize_dynamic(
        str(prepared),
        str(file),
        op_types_to_quantize=["MatMul", "Gather"],
        nodes_to_quantize=[node.name for node in linear] + (words if bits == 8 else []),
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()
    if bits == 4:
        packed = _pack_embeddings(file, kept=[node.name for node in gathers if node.name not in words + positions])
        for node in linear:
            _pack_weights(packed, weights[node.input[1]])
        onnx.save(packed, str(file))
    return file


def _pack_embeddings(file: Path, *, kept: list[str]) -> ModelProto:
    """Returns a graph with its embeddings brought to 4 bits, in blocks; the look-ups named stay as they are."""
    packing = MatMulNBitsQuantizer(
        onnx.load(str(file)),
        bits=4,
        block_size=_EMBEDDING_BLOCK_SIZE,
        is_symmetric=False,
        op_types_to_quantize=("Gather",),
        nodes_to_exclude=kept,
    )
    # A block of zeros has no scale, and is passed over after the division.
    with np.errstate(invalid="ignore"):
        packing.process()
    model: ModelProto = packing.model.model
    return model


def _pack_weights(model: ModelProto, weight: TensorProto) -> None:
    """Replaces the int8 weights of a graph by values of 4 bits, and by nodes that make int8 of them.

    The nodes depend on nothing that is read, so a session computes them once, when it is made.
    """
    weight_OI = torch.from_numpy(numpy_helper.to_array(weight).T.copy())
    rounded = round_to_four_bits(weight_OI)
    name = weight.name
    kept = [one for one in model.graph.initializer if one.name not in (f"{name}_quantized", f"{name}_scale")]
    added = [
        numpy_helper.from_array(
            rounded.values_OI.T.numpy().astype(helper.tensor_dtype_to_np_dtype(TensorProto.INT4)), f"{name}_values"
        ),
        numpy_helper.from_array(rounded.factors().T.numpy().astype(np.float16), f"{name}_factors"),
        numpy_helper.from_array(rounded.scales_O.numpy(), f"{name}_scale"),
    ]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *added])
    for node in reversed(_restore_int8(name)):
        model.graph.node.insert(0, node)


def _restore_int8(name: str) -> list[NodeProto]:
    blocks: dict[str, Any] = {"axis": 0, "block_size": BLOCK_SIZE}
    parts = [f"{name}_values", f"{name}_factors"]
    return [
        helper.make_node("DequantizeLinear", parts, [f"{name}_multiplied"], f"{name}_multiply", **blocks),
        helper.make_node("Round", [f"{name}_multiplied"], [f"{name}_rounded"], f"{name}_round"),
        helper.make_node("Cast", [f"{name}_rounded"], [f"{name}_quantized"], f"{name}_cast", to=TensorProto.INT8),
    ]


def copy_tokenizer(encoder_directory: Path, directory: Path) -> Path:
    """Copies the tokenizer beside the weights, so that the served directory needs nothing else; returns its file."""
    return Path(shutil.copyfile(encoder_directory / TOKENIZER_FILE, directory / TOKENIZER_FILE))


def example_ids() -> Tensor:
    """Return token ids [B, T] to trace a network with."""
    return torch.randint(1000, 2000, (2, 24), generator=torch.Generator().manual_seed(0))


def export_graph(
    served: nn.Module,
    encoder: PreTrainedModel,
    inputs: tuple[Tensor, ...],
    directory: Path,
    *,
    axes: dict[str, dict[int, str]],
) -> Path:
    """Writes a network as an fp32 ONNX graph; returns its file.

    The first names in `axes` are those of its inputs, the others of its outputs. The encoder is switched to plain
    attention: the fused form exports as a detour of shape arithmetic.
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
