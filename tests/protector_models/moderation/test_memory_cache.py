"""The verdict cache in memory keeps what was used last."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.memory_cache import MemoryVerdictCache


async def test_it_returns_what_was_stored_in_the_order_of_the_keys() -> None:
    cache = MemoryVerdictCache(max_entries=10)
    await cache.put_many({"a": b"1", "b": b"2"})
    assert await cache.get_many(["b", "missing", "a", "b"]) == [b"2", None, b"1", b"2"]


async def test_the_least_recently_used_value_makes_room() -> None:
    cache = MemoryVerdictCache(max_entries=2)
    await cache.put_many({"a": b"1", "b": b"2"})
    await cache.get_many(["a"])
    await cache.put_many({"c": b"3"})
    assert await cache.get_many(["a", "b", "c"]) == [b"1", None, b"3"]


async def test_storing_again_replaces_the_value() -> None:
    cache = MemoryVerdictCache(max_entries=2)
    await cache.put_many({"a": b"1"})
    await cache.put_many({"a": b"2"})
    assert await cache.get_many(["a"]) == [b"2"]


async def test_a_cache_of_no_entries_keeps_nothing() -> None:
    cache = MemoryVerdictCache(max_entries=0)
    await cache.put_many({"a": b"1"})
    assert await cache.get_many(["a"]) == [None]


@given(
    stored=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2_000)), max_size=20),
    max_bytes=st.integers(0, 4_000),
)
async def test_it_never_takes_more_bytes_than_it_may(stored: list[tuple[str, int]], max_bytes: int) -> None:
    cache = MemoryVerdictCache(max_entries=1_000, max_bytes=max_bytes)
    values: dict[str, bytes] = {}
    for key, length in stored:
        values[key] = bytes(length)
        await cache.put_many({key: values[key]})
        found = dict(zip("abcdef", await cache.get_many("abcdef"), strict=True))
        # An entry takes at least what Python says of its key and value.
        assert sum(sys.getsizeof(kept) + sys.getsizeof(key) for key, kept in found.items() if kept is not None) <= max(
            max_bytes, 0
        )
        assert all(kept is None or kept == values[key] for key, kept in found.items())


async def test_the_values_used_last_stay_as_far_as_their_bytes_fit() -> None:
    cache = MemoryVerdictCache(max_entries=1_000, max_bytes=4_000)
    await cache.put_many({"a": bytes(1_000), "b": bytes(1_000), "c": bytes(1_000)})
    await cache.get_many(["a"])
    await cache.put_many({"d": bytes(1_000)})
    assert await cache.get_many(["a", "b", "c", "d"]) == [bytes(1_000), None, bytes(1_000), bytes(1_000)]


async def test_a_value_that_is_too_large_by_itself_drives_out_no_other() -> None:
    cache = MemoryVerdictCache(max_entries=1_000, max_bytes=1_000)
    await cache.put_many({"a": b"1", "b": bytes(2_000)})
    await cache.put_many({"a": bytes(2_000), "c": b"3"})
    assert await cache.get_many(["a", "b", "c"]) == [None, None, b"3"]


async def test_a_value_is_gone_when_its_time_is_over_and_stays_where_it_is_stored_again_without_one() -> None:
    now_s = 0.0
    cache = MemoryVerdictCache(max_entries=1_000, clock=lambda: now_s)
    await cache.put_many({"a": b"1", "b": b"2"}, ttl_s=10)
    await cache.put_many({"b": b"3"})
    now_s = 9.9
    assert await cache.get_many(["a", "b"]) == [b"1", b"3"]
    now_s = 10.0
    assert await cache.get_many(["a", "b"]) == [None, b"3"]
