import pytest

from protector_models.moderation.even_sampling import sample_evenly


@pytest.mark.parametrize(("num_items", "num_kept"), [(10, 1), (10, 2), (10, 3), (10, 10), (3, 10), (1000, 64)])
def test_sampling_keeps_the_ends_and_never_repeats(num_items: int, num_kept: int) -> None:
    indices = sample_evenly(num_items, num_kept)
    assert len(set(indices)) == len(indices) == min(num_items, num_kept)
    assert indices[0] == 0
    assert indices == sorted(indices)
    assert num_kept == 1 or indices[-1] == num_items - 1
