"""A graph loaded into ONNX Runtime as all of Weir's encoders run: on one thread of the CPU, several runs at once."""

from functools import lru_cache
from pathlib import Path

import onnxruntime  # type: ignore[import-untyped]  # ships no types

from protector_models.checkpoints.cards import CheckpointError

SLOW_FUSIONS = ("SkipLayerNormFusion",)
"""Adding and normalising in one kernel took 310 microseconds where LayerNormalization and Add took 55 (128 tokens, ONNX
Runtime 1.31): an eighth of the whole run."""


_KEPT_SESSIONS = 4
"""Graphs of a process: those of a pair, the edit model, and one more."""


def load_session(model_file: Path, *, keeps_memory: bool = True) -> onnxruntime.InferenceSession:
    """Loads a graph; one that was loaded lately is not loaded again, and its session is shared: runs do not disturb it.

    Args:
        model_file: the graph.
        keeps_memory: whether the memory of a run is kept for the next one: faster where shapes are few, and more and
            more of it where inputs are of any size.

    Raises:
        CheckpointError: the file is no graph that ONNX Runtime can load.
    """
    try:
        state = model_file.stat()
    except OSError as error:
        raise CheckpointError(f"{model_file}: cannot be read: {type(error).__name__}") from error
    return _load(model_file.resolve(), (state.st_mtime_ns, state.st_size), keeps_memory=keeps_memory)


@lru_cache(maxsize=_KEPT_SESSIONS)
def _load(model_file: Path, version: tuple[int, int], *, keeps_memory: bool) -> onnxruntime.InferenceSession:
    del version  # a file that was written anew is another one
    options = onnxruntime.SessionOptions()
    # One thread inside a run and several runs at once: no time is lost at joins, and the order of sums is fixed.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = keeps_memory
    # A waiting thread that spins takes the core from Kafka, Redis and Ray.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights that are kept in 4 bits are made int8 once, now: ONNX Runtime would keep their scales for kernels of its
    # own otherwise, and unpack them in every run.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(
            str(model_file),
            sess_options=options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(SLOW_FUSIONS),
        )
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise CheckpointError(f"{model_file}: ONNX Runtime cannot load it: {type(error).__name__}") from error
