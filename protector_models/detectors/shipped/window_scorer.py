"""The port of the engines that run the encoder, and the one that ships: ONNX Runtime, each window in a run of its own.

One window a run is what makes a score independent of its neighbours: dynamic int8 takes the scale of the activations
over the whole input tensor, so in a shared run a window's score would move with the others. It also needs no padding,
and runs of eight are no faster (docs/design/0005-detector-engine.md has the figures).

The graph gives the tokens' vectors; the heads score pieces from them (`detector_heads`).

Shapes: T tokens of one window, H hidden units.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # ships no types

from protector_models.detectors.shipped.detector_heads import DetectorHeads, WindowLogits
from protector_models.detectors.shipped.window_layout import TokenPair
from protector_models.running.onnx_sessions import SLOW_FUSIONS, load_session

INPUT_NAMES = ("input_ids", "segment_ids")
"""Inputs of the exported graph, each int64 [1, T], the second only where the encoder knows segments; the output
`hidden` is float32 [1, T, H]. There is no mask: one window a run has no padding, and adding a mask of zeros to every
attention score took 4% of the time."""


class WindowScorer(Protocol):
    """An engine: what runs the encoder over windows. Several threads may call it at once."""

    @property
    def engine(self) -> str:
        """What beside weights and windows decides a logit's bits; part of the detector's revision."""
        ...

    @property
    def tells_pieces_apart(self) -> bool:
        """Whether the pieces of a window have logits of their own."""
        ...

    def score(self, windows: Iterable[TokenPair]) -> list[WindowLogits]:
        """Scores each window, whatever it is scored with. It computes on the calling thread's time and may be repeated.

        The windows are taken one by one, so that the next text can be read while the last one is scored.

        Returns:
            Logits of each window and its pieces, in order.

        Raises:
            RuntimeError: the engine failed, for instance for want of memory.
        """
        ...


class OnnxWindowScorer:
    """Scores windows on the CPU, on a fixed number of threads. Implements `WindowScorer`."""

    tells_pieces_apart = True

    def __init__(
        self, session: onnxruntime.InferenceSession, heads: DetectorHeads, executor: ThreadPoolExecutor
    ) -> None:
        self._session = session
        self._input_names = {taken.name for taken in session.get_inputs()}
        self._heads = heads
        self._executor = executor

    @property
    def engine(self) -> str:
        """ONNX Runtime, with the order of sums that its fused and unfused kernels give."""
        return f"onnx without {' '.join(SLOW_FUSIONS)}"

    @classmethod
    def load(cls, model_file: Path, heads: DetectorHeads, *, num_threads: int) -> Self:
        """Loads the graph.

        Args:
            model_file: the ONNX graph with the inputs of `INPUT_NAMES`.
            heads: over the graph's output.
            num_threads: runs going on at once, at least 1. Scores do not depend on it.

        Raises:
            CheckpointError: the file is no graph that ONNX Runtime can load.
            ValueError: `num_threads` is less than 1.
        """
        if num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, got {num_threads}")
        executor = ThreadPoolExecutor(num_threads, thread_name_prefix="window-scorer")
        return cls(load_session(model_file), heads, executor)

    def score(self, windows: Iterable[TokenPair]) -> list[WindowLogits]:
        """Scores windows, each from the moment it is taken.

        Returns:
            Logits of each window and its pieces, in order; the same bits whatever a window is scored with.

        Raises:
            RuntimeError: ONNX Runtime failed, for instance for want of memory.
        """
        return list(self._executor.map(self._run, windows))

    def _run(self, window: TokenPair) -> WindowLogits:
        given = zip(INPUT_NAMES, (window.input_ids, window.segment_ids), strict=True)
        inputs = {name: np.array([ids], dtype=np.int64) for name, ids in given if name in self._input_names}
        (hidden_1TH,) = self._session.run(None, inputs)
        return self._heads.score(np.asarray(hidden_1TH, dtype=np.float32)[0], window)
