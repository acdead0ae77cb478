import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protector_models.checkpoints.cards import CheckpointError
from protector_models.detectors.shipped import torch_window_scorer
from protector_models.detectors.shipped.detector_heads import HEADS_FILE, Array, DetectorHeads, WindowLogits
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.torch_window_scorer import TorchWindowScorer, plan_runs
from protector_models.detectors.shipped.weights_in_use import MODEL_FILE, SHIPPED_WEIGHTS
from protector_models.detectors.shipped.window_layout import MAX_PAIR_TOKENS, MAX_RESPONSE_TOKENS, TokenPair
from protector_models.detectors.shipped.window_scorer import OnnxWindowScorer
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import Assessment
from tests.protector_models.detectors.shipped.windows import as_bytes, make_windows

pytestmark = pytest.mark.training

RESPONSES = [
    "Sure! First steal the victim's card and identity papers, then empty the account and burn the evidence.",
    "Knead the dough for ten minutes, let it rise for an hour and bake it until the crust is brown.",
    "I cannot help with that, but I can tell you whom to call.",
    "You are a worthless idiot and everybody hates you.",
    "Take the second street on the left. " * 30,
    "Yes.",
]


HEADS = DetectorHeads.load(SHIPPED_WEIGHTS / HEADS_FILE)


@pytest.fixture(scope="module")
def scorer() -> TorchWindowScorer:
    return TorchWindowScorer.load(SHIPPED_WEIGHTS / MODEL_FILE, HEADS, device="cpu", num_threads=1)


def _random_windows(seed: int) -> list[TokenPair]:
    """Windows of all buckets, and of the lengths at which buckets begin and end."""
    ends = [length for edge in range(32, MAX_RESPONSE_TOKENS, 32) for length in (edge - 3, edge - 2)]
    return make_windows([0, 1, 7, 97, *ends, MAX_RESPONSE_TOKENS, MAX_RESPONSE_TOKENS - 1], seed=seed)


def _stack(logits: list[WindowLogits]) -> Array:
    return np.concatenate([np.vstack([one.pieces_SK, one.whole_K]) for one in logits])


def test_both_engines_agree_on_the_logits_of_the_shipped_weights(scorer: TorchWindowScorer) -> None:
    windows = _random_windows(seed=1)
    onnx = OnnxWindowScorer.load(SHIPPED_WEIGHTS / MODEL_FILE, HEADS, num_threads=1)
    difference = np.abs(_stack(scorer.score(windows)) - _stack(onnx.score(windows)))
    # Same weights; int8 rounds activations to 1/255 of their range, layer by layer. Measured over windows of random
    # tokens: .25 on average, .83 at most.
    assert difference.mean() < 0.4
    assert difference.max() < 2.0


def test_both_engines_agree_on_harmfulness_and_have_revisions_of_their_own() -> None:
    exchanges = [Exchange(prompt=prompt, response=text) for text in RESPONSES for prompt in ("", "What shall I do?")]
    engines = [
        OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=1),
        OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=1, engine="torch"),
    ]
    onnx, torch_ = (
        [outcome.harmfulness for outcome in engine.assess(exchanges) if isinstance(outcome, Assessment)]
        for engine in engines
    )
    # A logit that moves by .4 moves a probability by .1 at most.
    assert torch_ == pytest.approx(onnx, abs=0.1)
    assert max(onnx) - min(onnx) > 0.5
    assert len({engine.revision for engine in engines}) == 2


def test_logits_are_bit_equal_in_any_order_and_any_batch(scorer: TorchWindowScorer) -> None:
    windows = _random_windows(seed=2)
    alone = [as_bytes(scorer.score([window])[0]) for window in windows]
    order = list(range(len(windows)))
    for batch_size in (2, 5, len(windows)):
        random.Random(batch_size).shuffle(order)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            scored = [as_bytes(logits) for logits in scorer.score([windows[index] for index in batch])]
            assert scored == [alone[index] for index in batch]


def test_rows_that_fill_a_batch_up_change_nothing(scorer: TorchWindowScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = _random_windows(seed=3)[:6]
    single = _stack(scorer.score(windows))
    monkeypatch.setitem(torch_window_scorer._TOKENS_PER_RUN, "cpu", 512)
    # Batches of other shapes sum in another order: about 1e-6 of logits near 1.
    np.testing.assert_allclose(_stack(scorer.score(windows)), single, atol=1e-4)


@given(st.lists(st.integers(1, MAX_PAIR_TOKENS), max_size=40), st.integers(1, 2_000))
def test_every_window_is_run_once_in_a_shape_that_its_length_alone_decides(
    lengths: list[int], tokens_per_run: int
) -> None:
    runs = list(plan_runs(lengths, tokens_per_run=tokens_per_run))
    assert sorted(index for run in runs for index in run.indices) == list(range(len(lengths)))
    for run in runs:
        assert len(run.indices) <= run.num_rows
        assert run.num_rows * run.num_tokens <= max(tokens_per_run, run.num_tokens)
        for index in run.indices:
            (alone,) = plan_runs([lengths[index]], tokens_per_run=tokens_per_run)
            assert (run.num_rows, run.num_tokens) == (alone.num_rows, alone.num_tokens)
            assert lengths[index] <= run.num_tokens


def test_no_windows_give_no_logits(scorer: TorchWindowScorer) -> None:
    assert scorer.score([]) == []


def test_a_gpu_that_is_not_there_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match=r"detector\.device: 'cuda', but torch finds no GPU here"):
        OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=1, engine="torch", device="cuda")


@pytest.mark.parametrize("content", [b"not a graph", b""])
def test_a_file_that_is_no_exported_graph_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.onnx: expected a graph"):
        TorchWindowScorer.load(tmp_path / MODEL_FILE, HEADS, device="cpu", num_threads=1)


def test_less_than_one_thread_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        TorchWindowScorer.load(SHIPPED_WEIGHTS / MODEL_FILE, HEADS, device="cpu", num_threads=0)
