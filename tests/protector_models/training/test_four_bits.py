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
    int8_steps = rounded.scales_O.unsqueeze(1)
    steps = _spread(rounded.factors().abs(), shape[1]) * int8_steps
    moved = (rounded.restore() - weight).abs()
    # A factor is rounded by a sixteenth, which the value furthest from zero takes eightfold; int8 by a half.
    assert bool((moved <= steps + 1.001 * int8_steps).all())
    is_inside = weight.abs() <= 7.5 * steps
    assert bool((moved[is_inside] <= (0.5 * steps + 0.501 * int8_steps)[is_inside]).all())


@given(shape=SHAPES, seed=st.integers(0, 10_000))
def test_numbers_are_whole_and_none_is_beyond_what_two_products_may_have(shape: tuple[int, int], seed: int) -> None:
    rounded = round_to_four_bits(_weights(shape, seed, 1.0))
    assert set(rounded.values_OI.flatten().tolist()) <= set(range(-8, 8))
    int8 = rounded.restore() / rounded.scales_O.unsqueeze(1)
    torch.testing.assert_close(int8, int8.round())
    assert float(int8.abs().max()) <= 64
    # What a file keeps of a factor are 16 bits.
    assert torch.equal(rounded.factors().half().float(), rounded.factors())


@given(shape=SHAPES, seed=st.integers(0, 10_000))
def test_the_furthest_weight_of_an_output_is_kept(shape: tuple[int, int], seed: int) -> None:
    weight = _weights(shape, seed, 1.0)
    furthest = weight.abs().argmax(1, keepdim=True)
    torch.testing.assert_close(round_to_four_bits(weight).restore().gather(1, furthest), weight.gather(1, furthest))


def _spread(blocks: torch.Tensor, num_inputs: int) -> torch.Tensor:
    return blocks.repeat_interleave(BLOCK_SIZE, dim=1)[:, :num_inputs]
