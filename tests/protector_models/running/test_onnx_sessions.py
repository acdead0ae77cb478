"""Graphs are loaded once, and anew when their file was written anew."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from protector_models.checkpoints.cards import CheckpointError
from protector_models.running.onnx_sessions import load_session


def _write_graph(file: Path, operation: str) -> None:
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("given", "found")]
    graph = helper.make_graph([helper.make_node(operation, ["given"], ["found"])], "one", sides[:1], sides[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(file))


def _run(file: Path) -> float:
    (found,) = load_session(file).run(None, {"given": np.array([2.0], dtype=np.float32)})
    return float(found[0])


def test_a_graph_is_loaded_once_and_another_one_in_its_place_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "graph.onnx"
    _write_graph(file, "Neg")
    assert load_session(file) is load_session(file)
    assert load_session(file) is not load_session(file, keeps_memory=False)
    assert _run(file) == -2.0
    _write_graph(file, "Reciprocal")
    assert _run(file) == 0.5


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"graph\.onnx: cannot be read: FileNotFoundError"):
        load_session(tmp_path / "graph.onnx")
