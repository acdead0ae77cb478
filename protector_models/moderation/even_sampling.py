"""Even samples of things that are too many to be looked at one by one."""


def sample_evenly(num_items: int, num_kept: int) -> list[int]:
    """Return `num_kept` of `num_items` indices in order: the first, the last and evenly spread ones between."""
    if num_kept >= num_items:
        return list(range(num_items))
    if num_kept == 1:
        return [0]
    return [round(step * (num_items - 1) / (num_kept - 1)) for step in range(num_kept)]
