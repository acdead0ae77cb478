"""Model outputs are computed once, also across batches that run at the same time."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import DeadVerdictCache, RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.ports import VerdictCache
from protector_models.moderation.recall import Recall, Recalled
from protector_models.moderation.verdict import Assessment, ItemFailure
from tests.builders import assessment

FAILURE = ItemFailure(error="Poison", message="expected something else")


class _Model:
    """Computes when it is let: `started` tells that it was called, `go` lets it answer."""

    def __init__(self, *, outputs: Mapping[int, Assessment | ItemFailure] | None = None) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.calls: list[list[int]] = []
        self.error: BaseException | None = None
        self._outputs = outputs or {}

    async def compute(self, positions: Sequence[int]) -> list[Assessment | ItemFailure]:
        self.calls.append(list(positions))
        self.started.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return [self._outputs.get(position, assessment(0.25)) for position in positions]


class _SlowToStore(MemoryVerdictCache):
    """Stores when it is let."""

    def __init__(self) -> None:
        super().__init__(max_entries=10)
        self.storing = asyncio.Event()
        self.store = asyncio.Event()

    async def put_many(self, values: Mapping[str, bytes]) -> None:
        self.storing.set()
        await self.store.wait()
        await super().put_many(values)


def _recall(cache: VerdictCache | None = None, metrics: RecordedMetrics | None = None) -> Recall[Assessment]:
    return Recall(
        kind="assessment",
        model=Assessment,
        cache=cache or MemoryVerdictCache(max_entries=100),
        metrics=metrics or RecordedMetrics(),
    )


def _open_model(**outputs: Assessment | ItemFailure) -> _Model:
    model = _Model(outputs={int(position[1:]): output for position, output in outputs.items()})
    model.go.set()
    return model


async def _in_two_batches(
    recall: Recall[Assessment], leader: _Model, follower: _Model
) -> tuple["asyncio.Task[list[Recalled[Assessment]]]", "asyncio.Task[list[Recalled[Assessment]]]"]:
    """Start two batches that need one key in common, and let the second come while the first computes."""
    first = asyncio.create_task(recall.get_many(["shared"], leader.compute))
    await leader.started.wait()
    second = asyncio.create_task(recall.get_many(["shared", "own"], follower.compute))
    await follower.started.wait()
    return first, second


async def test_equal_keys_of_one_batch_are_computed_once_and_all_get_the_output() -> None:
    model = _open_model(p1=assessment(0.75))
    recalled = await _recall().get_many(["a", "b", "a", "b"], model.compute)
    assert model.calls == [[0, 1]]
    assert [item.output for item in recalled] == [assessment(0.25), assessment(0.75)] * 2


async def test_no_keys_means_no_call_to_model_or_cache() -> None:
    model = _open_model()
    assert await _recall().get_many([], model.compute) == []
    assert model.calls == []


async def test_what_was_stored_is_not_computed_again() -> None:
    metrics, model = RecordedMetrics(), _open_model()
    recall = _recall(metrics=metrics)
    cold = await recall.get_many(["a"], model.compute)
    warm = await recall.get_many(["a", "b"], model.compute)
    assert [item.cached for item in cold + warm] == [False, True, False]
    assert model.calls == [[0], [1]]
    assert metrics.total("weir_cache_hits_total") == 1
    assert metrics.total("weir_cache_misses_total") == 2


async def test_only_successes_are_stored() -> None:
    cache = MemoryVerdictCache(max_entries=10)
    recall, model = _recall(cache), _open_model()
    await recall.get_many(["good", "bad"], _open_model(p1=FAILURE).compute)
    assert await cache.get_many(["good", "bad"]) == [assessment(0.25).model_dump_json().encode(), None]
    recalled = await recall.get_many(["good", "bad"], model.compute)
    assert model.calls == [[1]]
    assert [item.cached for item in recalled] == [True, False]


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"harmfulness": 2}',
        assessment(0.5).model_dump_json().encode()[:-1],
        assessment(0.5).model_dump_json().encode().replace(b'"truncated":false', b'"truncated":true'),
    ],
)
async def test_foreign_bytes_are_a_counted_miss_and_are_replaced(foreign: bytes) -> None:
    cache, metrics = MemoryVerdictCache(max_entries=10), RecordedMetrics()
    await cache.put_many({"a": foreign})
    recall, model = _recall(cache, metrics), _open_model()
    first = await recall.get_many(["a"], model.compute)
    second = await recall.get_many(["a"], model.compute)
    assert [item.cached for item in first + second] == [False, True]
    assert metrics.total("weir_cache_foreign_total") == 1
    assert metrics.total("weir_cache_misses_total") == 1


async def test_a_dead_cache_means_that_everything_is_computed() -> None:
    recall, model = _recall(DeadVerdictCache()), _open_model()
    recalled = await recall.get_many(["a"], model.compute) + await recall.get_many(["a"], model.compute)
    assert [item.cached for item in recalled] == [False, False]


async def test_batches_at_the_same_time_share_one_computation() -> None:
    recall, leader, follower = _recall(), _Model(outputs={0: assessment(0.75)}), _open_model()
    first, second = await _in_two_batches(recall, leader, follower)
    leader.go.set()
    assert [item.output for item in await first] == [assessment(0.75)]
    assert [item.output for item in await second] == [assessment(0.75), assessment(0.25)]
    assert follower.calls == [[1]]


async def test_batches_that_wait_for_each_other_both_end() -> None:
    recall, one, other = _recall(), _Model(), _Model()
    first = asyncio.create_task(recall.get_many(["a"], one.compute))
    await one.started.wait()
    second = asyncio.create_task(recall.get_many(["a", "b"], other.compute))
    await other.started.wait()
    third = asyncio.create_task(recall.get_many(["b", "a"], _open_model().compute))
    one.go.set()
    other.go.set()
    assert [len(batch) for batch in await asyncio.gather(first, second, third)] == [1, 2, 2]


async def test_a_failed_item_reaches_the_batches_that_joined() -> None:
    leader = _Model(outputs={0: FAILURE})
    first, second = await _in_two_batches(_recall(), leader, _open_model())
    leader.go.set()
    await first
    assert [item.output for item in await second] == [FAILURE, assessment(0.25)]


@pytest.mark.parametrize("error", [ModelUnavailableError("the model is gone"), ValueError("a fault in a neighbour")])
async def test_an_error_of_the_leader_lets_the_others_try_again(error: Exception) -> None:
    recall, leader = _recall(), _Model()
    leader.error = error
    first, second = await _in_two_batches(recall, leader, _open_model())
    leader.go.set()
    with pytest.raises(type(error), match=str(error)):
        await first
    with pytest.raises(ModelUnavailableError):
        await second
    again = await recall.get_many(["shared", "own"], _open_model().compute)
    assert [item.cached for item in again] == [False, True]


async def test_a_cancelled_leader_lets_the_others_try_again() -> None:
    recall, leader = _recall(), _Model()
    first, second = await _in_two_batches(recall, leader, _open_model())
    first.cancel()
    with pytest.raises(ModelUnavailableError, match="CancelledError"):
        await second
    assert first.cancelled() or first.cancelling()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(await recall.get_many(["shared"], _open_model().compute)) == 1


async def test_a_cancelled_follower_leaves_the_leader_and_its_followers_alone() -> None:
    recall, leader = _recall(), _Model()
    first, second = await _in_two_batches(recall, leader, _open_model())
    follower = _open_model()
    third = asyncio.create_task(recall.get_many(["shared", "mine"], follower.compute))
    await follower.started.wait()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    leader.go.set()
    assert len(await first) == 1
    assert len(await third) == 2


async def test_a_model_that_gives_too_few_outputs_is_an_error_for_all_who_wait() -> None:
    async def one_too_few(positions: Sequence[int]) -> list[Assessment | ItemFailure]:
        return [assessment()] * (len(positions) - 1)

    with pytest.raises(ValueError, match="shorter"):
        await _recall().get_many(["a", "b"], one_too_few)


async def test_an_output_that_is_being_stored_is_not_computed_again() -> None:
    cache, follower = _SlowToStore(), _open_model()
    recall = _recall(cache)
    first = asyncio.create_task(recall.get_many(["a"], _open_model().compute))
    await cache.storing.wait()
    assert [item.output for item in await recall.get_many(["a"], follower.compute)] == [assessment(0.25)]
    assert follower.calls == []
    cache.store.set()
    assert len(await first) == 1


async def test_who_joins_does_not_wait_for_the_cache_to_store() -> None:
    cache = _SlowToStore()
    recall, leader = _recall(cache), _Model()
    first = asyncio.create_task(recall.get_many(["a"], leader.compute))
    await leader.started.wait()
    second = asyncio.create_task(recall.get_many(["a"], _open_model().compute))
    leader.go.set()
    assert len(await second) == 1
    assert not first.done()
    cache.store.set()
    await first
