"""The verdict cache in memory keeps what was used last."""

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
