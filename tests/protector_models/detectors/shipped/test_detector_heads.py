from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from protector_models.checkpoints.cards import CheckpointError
from protector_models.detectors.shipped.detector_heads import HEADS_FILE, NUM_POOLED, Array, DetectorHeads
from protector_models.detectors.shipped.window_layout import PairLayout, TokenPair

NUM_UNITS, NUM_LOGITS = 4, 3
LAYOUT = PairLayout(start_id=1, separator_id=2)


def make_heads(seed: int = 0) -> DetectorHeads:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    return DetectorHeads(
        piece_weight_KP=draw(NUM_LOGITS, NUM_POOLED * NUM_UNITS),
        piece_bias_K=draw(NUM_LOGITS),
        whole_weight_KP=draw(NUM_LOGITS, NUM_POOLED * NUM_UNITS),
        whole_bias_K=draw(NUM_LOGITS),
    )


def make_window(num_prompt: int, lengths: list[int]) -> tuple[TokenPair, Array]:
    edges = [sum(lengths[:place]) for place in range(len(lengths) + 1)]
    window = LAYOUT.join([5] * num_prompt, [6] * edges[-1], list(pairwise(edges)))
    rng = np.random.default_rng(num_prompt)
    return window, rng.normal(size=(len(window.input_ids), NUM_UNITS)).astype(np.float32)


@given(st.integers(0, 5), st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_every_piece_has_logits_and_the_response_as_one_piece_has_those_of_its_tokens(
    num_prompt: int, lengths: list[int]
) -> None:
    heads = make_heads()
    window, hidden_TH = make_window(num_prompt, lengths)
    found = heads.score(hidden_TH, window)
    assert found.pieces_SK.shape == (len(lengths), heads.num_logits)
    assert found.pieces_SK.dtype == found.whole_K.dtype == np.float32
    first, end = window.response
    pooled_P = np.concatenate([hidden_TH.mean(0), hidden_TH[first:end].mean(0), hidden_TH[first:end].max(0)])
    # float32 sums in another order.
    np.testing.assert_allclose(found.whole_K, heads.whole_weight_KP @ pooled_P + heads.whole_bias_K, atol=1e-5)


def test_a_pieces_logits_change_with_its_tokens_and_with_the_mean_of_the_window_only() -> None:
    heads = make_heads()
    window, hidden_TH = make_window(2, [3, 3, 3])
    before = heads.score(hidden_TH, window).pieces_SK
    # Two tokens of the last piece change, and the mean of the window does not.
    first, end = window.pieces[2]
    hidden_TH[first] += 1.0
    hidden_TH[end - 1] -= 1.0
    after = heads.score(hidden_TH, window).pieces_SK
    np.testing.assert_allclose(after[:2], before[:2], atol=1e-5)
    assert np.abs(after[2] - before[2]).max() > 1e-3


def test_the_same_window_has_the_same_bytes_every_time() -> None:
    heads = make_heads()
    window, hidden_TH = make_window(2, [3, 1, 2])
    scored = {heads.score(hidden_TH.copy(), window).pieces_SK.tobytes() for _ in range(5)}
    assert len(scored) == 1


def test_saved_heads_come_back(tmp_path: Path) -> None:
    heads = make_heads()
    heads.save(tmp_path / HEADS_FILE)
    loaded = DetectorHeads.load(tmp_path / HEADS_FILE)
    window, hidden_TH = make_window(1, [2])
    assert loaded.score(hidden_TH, window).pieces_SK.tobytes() == heads.score(hidden_TH, window).pieces_SK.tobytes()


@pytest.mark.parametrize("content", [None, b"", b"not safetensors", "cut"])
def test_a_file_that_holds_no_heads_is_an_error_that_names_it(tmp_path: Path, content: bytes | str | None) -> None:
    file = tmp_path / HEADS_FILE
    make_heads().save(file)
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(whole[:-5] if isinstance(content, str) else content)
    with pytest.raises(CheckpointError, match=f"{HEADS_FILE}: no heads of a detector"):
        DetectorHeads.load(file)


DAMAGE: dict[str, dict[str, Array]] = {
    "another number of outputs": {"piece_bias_K": np.zeros(NUM_LOGITS + 1, np.float32)},
    "heads of two sizes": {"whole_weight_KP": np.zeros((NUM_LOGITS, 3), np.float32)},
    "no matrix": {"piece_weight_KP": np.zeros(3, np.float32), "whole_weight_KP": np.zeros(3, np.float32)},
    "no three vectors": {
        "piece_weight_KP": np.zeros((NUM_LOGITS, 7), np.float32),
        "whole_weight_KP": np.zeros((NUM_LOGITS, 7), np.float32),
    },
}


@pytest.mark.parametrize("name", DAMAGE)
def test_tensors_that_do_not_fit_together_are_refused(tmp_path: Path, name: str) -> None:
    heads = make_heads()
    tensors = {field: getattr(heads, field) for field in DetectorHeads.__slots__}
    save_file({**tensors, **DAMAGE[name]}, tmp_path / HEADS_FILE)
    with pytest.raises(CheckpointError, match="expected two heads of one shape"):
        DetectorHeads.load(tmp_path / HEADS_FILE)


def test_a_missing_tensor_is_an_error(tmp_path: Path) -> None:
    save_file({"piece_bias_K": np.zeros(3, np.float32)}, tmp_path / HEADS_FILE)
    with pytest.raises(CheckpointError, match="KeyError"):
        DetectorHeads.load(tmp_path / HEADS_FILE)
