"""Weights to go on from: a served edit model, put back into the network that it was exported from.

Its int8 weights become the floating-point numbers that they stand for. Word embeddings are not read: training never
moved them, and the encoder's own are exact.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from protector_models.checkpoints.cards import CheckpointError
from protector_models.detoxification.edit_model import EDIT_MODEL_FILE, EditModelCard
from protector_models.training.detoxification.edit_network import EditNetwork

_PREFIX = "network."
_TAGS = "tag_head"
_SMALL_HEADS = ("edit_head", "toxic_head", "fluent_head")


def load_served_weights(network: EditNetwork, directory: Path, tag_names: Sequence[str]) -> None:
    """Puts a served model's weights into a network, in place.

    Args:
        network: of the same encoder, with a row of its tag head for each of `tag_names`.
        directory: a weights directory of an edit model.
        tag_names: what the network's tags stand for; those that the served model does not know keep their weights.

    Raises:
        CheckpointError: the directory is damaged, or holds no model of this network's form.
    """
    card = EditModelCard.load(directory)
    graph = onnx.load(str(directory / EDIT_MODEL_FILE)).graph
    found = _read_weights(graph)
    state = network.state_dict()
    tags = {name: found.pop(f"{_TAGS}.{name}", None) for name in ("weight", "bias")}
    if tags["weight"] is None or tags["bias"] is None or tags["weight"].shape[0] != len(card.tags):
        raise CheckpointError(f"{directory}: expected an edit model with {len(card.tags)} tags")
    unknown = [name for name, values in found.items() if name not in state or state[name].shape != values.shape]
    missing = [name for name in state if name not in found and not name.startswith(_TAGS) and "word_emb" not in name]
    if unknown or missing:
        raise CheckpointError(f"{directory}: not of this network's form ({', '.join((unknown + missing)[:3])})")
    rows = {name: row for row, name in enumerate(card.tags)}
    known = [(row, rows[name]) for row, name in enumerate(tag_names) if name in rows]
    with torch.no_grad():
        for name, values in found.items():
            state[name].copy_(torch.from_numpy(values))
        for part, rows_of_tags in tags.items():
            assert rows_of_tags is not None
            for ours, theirs in known:
                state[f"{_TAGS}.{part}"][ours] = torch.from_numpy(rows_of_tags[theirs : theirs + 1])[0]


def _read_weights(graph: onnx.GraphProto) -> dict[str, npt.NDArray[np.float32]]:
    """Returns the weights of a served graph by their names in the network, without the word embeddings."""
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {
        name.removeprefix(_PREFIX): np.array(values)
        for name, values in arrays.items()
        if name.startswith(_PREFIX) and "word_emb" not in name
    }
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            # "/encoder/encoder/layer.0/attention/self/key/MatMul_quant", and "/tag_head/MatMul_quant"
            base = node.input[1].removesuffix("_quantized")
            steps = arrays[node.input[1]].astype(np.float32) - arrays[f"{base}_zero_point"].astype(np.float32)
            module = node.name.strip("/").rpartition("/")[0].removeprefix("network/").replace("/", ".")
            found[f"{module}.weight"] = np.ascontiguousarray((steps * arrays[f"{base}_scale"]).T)
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        for head in _SMALL_HEADS:
            if node.op_type == "Add" and f"{_PREFIX}{head}.bias" in node.input:
                product = producers[producers[next(name for name in node.input if name in producers)].input[0]]
                weight = next(name for name in product.input if name in arrays)
                found[f"{head}.weight"] = np.array(arrays[weight]).reshape(1, -1)
    return found
