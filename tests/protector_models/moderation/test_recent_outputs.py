"""What the cache gave lately is at hand, for a short time and within a bound."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.cached_outputs import CachedOutputs
from protector_models.moderation.fakes import RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.recent_outputs import RecentOutputs
from tests.builders import assessment


class CountingCache(MemoryVerdictCache):
    """Counts the keys that it is asked for."""

    def __init__(self, *, max_entries: int) -> None:
        super().__init__(max_entries=max_entries)
        self.num_asked = 0

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.num_asked += len(keys)
        return await super().get_many(keys)


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _outputs(cache: MemoryVerdictCache) -> CachedOutputs[str, Assessment]:
    return CachedOutputs(
        kind="detector",
        model=Assessment,
        key=lambda revision, item: f"{revision}:{item}",
        revision_of=lambda output: output.detector,
        cache=cache,
        metrics=RecordedMetrics(),
    )


async def _assess(items: Sequence[str]) -> list[Assessment]:
    return [assessment(0.2) for _ in items]


async def test_what_the_cache_gave_is_not_asked_for_again_and_counts_as_cached() -> None:
    cache = CountingCache(max_entries=10)
    outputs, revision = _outputs(cache), assessment(0.2).detector
    first, second, third = [(await outputs.get_many(["a"], _assess, revision=revision))[0] for _ in range(3)]
    assert (first.cached, second.cached, third.cached) == (False, True, True)
    assert first.output == second.output == third.output
    assert cache.num_asked == 2  # before it was computed, and once after


async def test_where_the_cache_keeps_nothing_nothing_is_at_hand() -> None:
    outputs, revision = _outputs(CountingCache(max_entries=0)), assessment(0.2).detector
    assert [(await outputs.get_many(["a"], _assess, revision=revision))[0].cached for _ in range(3)] == [False] * 3


def test_what_was_kept_for_its_time_is_gone() -> None:
    clock = Clock()
    recent: RecentOutputs[str] = RecentOutputs(kept_s=60.0, clock=clock)
    recent.keep("a", "output", 6)
    clock.now_s = 59.9
    assert recent.find("a") == "output"
    clock.now_s = 60.0
    assert recent.find("a") is None


@given(
    steps=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12)), max_size=40),
    max_bytes=st.integers(0, 30),
)
def test_the_latest_ones_that_fit_are_there_and_no_others(steps: list[tuple[str, int]], max_bytes: int) -> None:
    recent: RecentOutputs[int] = RecentOutputs(max_bytes=max_bytes, clock=Clock())
    expected: list[tuple[str, int, int]] = []
    for number, (key, num_bytes) in enumerate(steps):
        recent.keep(key, number, num_bytes)
        expected = [entry for entry in expected if entry[0] != key]
        if num_bytes <= max_bytes:
            expected.append((key, num_bytes, number))
        while sum(entry[1] for entry in expected) > max_bytes:
            expected.pop(0)
    # From the oldest on, so that looking at them does not change their order.
    assert {key: recent.find(key) for key in "abcdef" if recent.find(key) is not None} == {
        key: number for key, _, number in expected
    }
