"""Laws of weights with sixteen values."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protector_models.training.four_bits import BLOCK_SIZE, round_to_four_bits

pytestmark = pytest.mark.training

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 3 * BLOCK_SIZE))


def _weights(shape: tuple[int, int], seed: int, scale: float) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(shape=SHAPES, seed=st.integers(0, 10_000), scale=st.sampled_from([0.0, 1e-6, 0.05, 1.0, 300.0]))
def test_rounding_twice_changes_nothing(shape: tuple[int, int], seed: int, scale: float) -> None:
    once = round_to_four_bits(_weights(shape, seed, scale)).restore()
    torch.testing.assert_close(round_to_four_bits(once).restore(), once)


@given(shape=SHAPES, seed=st.integers(0, 10_000), scale=st.sampled_from([1e-6, 0.05, 1.0, 300.0]))
def test_a_weight_moves_by_half_a_step_or_from_the_end_that_has_no_value(
    shape: tuple[int, int], seed: int, scale: float
) -> None:
    weight = _weights(shape, seed, scale)
    rounded = round_to_four_bits(weight)
    steps = rounded.scales_ON.abs().repeat_interleave(BLOCK_SIZE, dim=1)[:, : shape[1]]
    moved = (rounded.restore() - weight).abs()
    assert bool((moved <= 1.001 * steps).all())
    is_inside = weight.abs() <= 7.5 * steps
    assert bool((moved[is_inside] <= 0.501 * steps[is_inside]).all())


@given(shape=SHAPES, seed=st.integers(0, 10_000))
def test_values_are_whole_and_the_furthest_of_a_block_is_kept(shape: tuple[int, int], seed: int) -> None:
    weight = _weights(shape, seed, 1.0)
    rounded = round_to_four_bits(weight)
    assert set(rounded.values_OI.flatten().tolist()) <= set(range(-8, 8))
    for start in range(0, shape[1], BLOCK_SIZE):
        block, kept = weight[:, start : start + BLOCK_SIZE], rounded.restore()[:, start : start + BLOCK_SIZE]
        furthest = block.abs().argmax(1, keepdim=True)
        torch.testing.assert_close(kept.gather(1, furthest), block.gather(1, furthest))
