"""The encoder's weights in fp32, read back from the exported graph: another engine then needs no second file.

Int8 weights come back as the numbers they stand for, so both engines run the same weights and differ in the arithmetic
alone. Names are those of `ServedNetwork`, which `training.export` writes into the graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types
from onnx import GraphProto, NodeProto, numpy_helper

from protector_models.checkpoints.cards import CheckpointError

Array = npt.NDArray[np.float32]

_NETWORK = "network."
_WORDS = "encoder.embeddings.word_embeddings.weight"
_POSITIONS = "encoder.relative_attention_bias.weight"
_SCORE_SCALING = "/encoder/encoder/layer.0/attention/self/Mul"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphWeights:
    """What an encoder of BERT's kind or MPNet's is made of."""

    encoder: dict[str, Array]
    """Tensors of the encoder by the name that `transformers.BertModel` or `MPNetModel` gives them."""
    attention_head_size: int
    layer_norm_eps: float
    activation: str
    """By transformers' name for it."""

    @property
    def is_mpnet(self) -> bool:
        """Whether they are of MPNet's kind, which alone tells positions by how far apart tokens are."""
        return _POSITIONS in self.encoder


def read_graph_weights(model_file: Path) -> GraphWeights:
    """Reads the weights of a graph that `training.export` wrote, int8 or fp32.

    Raises:
        CheckpointError: the file is no such graph.
    """
    try:
        graph = onnx.load(str(model_file)).graph
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        # Before quantisation, numbers that are no weights are nodes.
        constants = [node for node in graph.node if node.op_type == "Constant"]
        tensors |= {node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in constants}
        tensors |= {
            f"{node.input[0].removesuffix('_values')}_quantized": _unpack_weight(node, tensors)
            for node in graph.node
            if node.op_type == "DequantizeLinear" and node.input[0].endswith("_values")
        }
        weights = {name.removeprefix(_NETWORK): tensor for name, tensor in tensors.items() if name.startswith(_NETWORK)}
        encoder = {name: tensor for name, tensor in weights.items() if tensor.dtype == np.float32}
        if f"{_NETWORK}{_WORDS}_quantized" in tensors:
            encoder[_WORDS] = _dequantise(tensors, f"{_NETWORK}{_WORDS}")
            del encoder[f"{_WORDS}_scale"]
        for node in graph.node:
            if node.op_type == "GatherBlockQuantized":
                name = node.input[0].removeprefix(_NETWORK).removesuffix("_Q4")
                encoder[name] = _unpack_words(node, tensors)
                del encoder[f"{name}_scales"]
            if (weight := _linear_weight(node, tensors)) is not None:
                encoder[_module_name(node) + ".weight"] = weight
        encoder = {name.removeprefix("encoder."): tensor for name, tensor in encoder.items()}
        return GraphWeights(
            encoder=encoder,
            attention_head_size=_attention_head_size(encoder, graph, tensors),
            layer_norm_eps=_layer_norm_eps(graph),
            activation="gelu_10" if any(node.op_type == "Clip" for node in graph.node) else "gelu",
        )
    except (OSError, DecodeError, KeyError, StopIteration) as error:
        raise CheckpointError(
            f"{model_file}: expected a graph that `weir train detector` wrote, got {type(error).__name__}: {error}"
        ) from error


def _linear_weight(node: NodeProto, tensors: Mapping[str, npt.NDArray[np.generic]]) -> Array | None:
    """Returns the weight [out, in] that a node multiplies with; None where it multiplies activations, or not at all."""
    if node.op_type == "MatMulInteger":
        return np.ascontiguousarray(_dequantise(tensors, node.input[1].removesuffix("_quantized")).T)
    if node.op_type == "MatMul" and node.input[1] in tensors:
        return np.ascontiguousarray(tensors[node.input[1]].astype(np.float32).T)
    return None


def _dequantise(tensors: Mapping[str, npt.NDArray[np.generic]], name: str) -> Array:
    # In float32 from the start, as ONNX Runtime does it: the difference of two int8 does not fit int8.
    quantised, zero = (tensors[f"{name}_{part}"].astype(np.float32) for part in ("quantized", "zero_point"))
    dequantised: Array = (quantised - zero) * tensors[f"{name}_scale"].astype(np.float32)
    return dequantised


def _unpack_weight(node: NodeProto, tensors: Mapping[str, npt.NDArray[np.generic]]) -> Array:
    """Returns the int8 weights [in, out] of a linear layer that is kept in 4 bits, as a session makes them."""
    # Multiplied in 16 bits, as a session does it.
    values, factors = (tensors[name].astype(np.float16) for name in node.input)
    multiplied = values * np.repeat(factors, _block_size(node), axis=0)[: len(values)]
    int8: Array = np.rint(multiplied).astype(np.float32)
    return int8


def _unpack_words(node: NodeProto, tensors: Mapping[str, npt.NDArray[np.generic]]) -> Array:
    """Returns the embeddings [V, H] of a table whose numbers of 4 bits stand in blocks with a scale and a zero."""
    packed, scales, zeros = (tensors[node.input[place]].astype(np.float32) for place in (0, 2, 3))
    scales, zeros = (np.repeat(one, _block_size(node), axis=1)[:, : packed.shape[1]] for one in (scales, zeros))
    unpacked: Array = (packed - zeros) * scales
    return unpacked


def _block_size(node: NodeProto) -> int:
    return int(next(attribute.i for attribute in node.attribute if attribute.name == "block_size"))


def _module_name(node: NodeProto) -> str:
    """Returns the module's name: `/encoder/encoder/layer.0/output/dense/MatMul_quant` is `encoder.encoder...dense`."""
    return node.name.rpartition("/")[0].removeprefix("/").replace("/", ".")


def _attention_head_size(
    encoder: Mapping[str, Array], graph: GraphProto, tensors: Mapping[str, npt.NDArray[np.generic]]
) -> int:
    if (positions := encoder.get(_POSITIONS)) is not None:
        hidden_size = encoder[_WORDS.removeprefix("encoder.")].shape[1]
        return int(hidden_size // positions.shape[1])
    # The graph does not name it; attention scores are divided by its square root.
    scaling = next(node for node in graph.node if node.name == _SCORE_SCALING)
    scale = next(float(tensors[name]) for name in scaling.input if name in tensors)
    return round(scale**-2)


def _layer_norm_eps(graph: GraphProto) -> float:
    node = next(node for node in graph.node if node.op_type == "LayerNormalization")
    return next(float(attribute.f) for attribute in node.attribute if attribute.name == "epsilon")
