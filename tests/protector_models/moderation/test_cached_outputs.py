"""Model outputs are computed once, also across batches that run at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from protector_models.moderation.cached_outputs import CachedOutputs, ObtainedOutput
from protector_models.moderation.errors import IncompleteError, ModelUnavailableError
from protector_models.moderation.fakes import DeadVerdictCache, RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.outages import Outage
from protector_models.moderation.ports import VerdictCache
from tests.builders import assessment, scored_piece

ASKED = assessment().detector
FAILURE = ItemFailure(error="Poison", message="expected something else")


class _Model:
    """Computes when it is let: `started` tells that it was called, `go` lets it answer."""

    def __init__(self, *, outputs: Mapping[str, Assessment | ItemFailure] | None = None) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.calls: list[list[str]] = []
        self.error: BaseException | None = None
        self._outputs = outputs or {}

    async def compute(self, items: Sequence[str]) -> list[Assessment | ItemFailure]:
        self.calls.append(list(items))
        self.started.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return [self._outputs.get(item, assessment(0.25)) for item in items]


class _SlowToStore(MemoryVerdictCache):
    """Stores when it is let."""

    def __init__(self) -> None:
        super().__init__(max_entries=10)
        self.storing = asyncio.Event()
        self.store = asyncio.Event()

    async def put_many(self, values: Mapping[str, bytes], *, ttl_s: int | None = None) -> None:
        self.storing.set()
        await self.store.wait()
        await super().put_many(values, ttl_s=ttl_s)


class _Outputs(CachedOutputs[str, Assessment]):
    """Assessments of texts, of which most are asked of one revision."""

    async def get_many(
        self,
        items: Sequence[str],
        compute: Callable[[Sequence[str]], Awaitable[Sequence[Assessment | ItemFailure]]],
        *,
        revision: str = ASKED,
        notes_outages: bool = False,
    ) -> list[ObtainedOutput[Assessment]]:
        return await super().get_many(items, compute, revision=revision, notes_outages=notes_outages)


def _cached_outputs(cache: VerdictCache | None = None, metrics: RecordedMetrics | None = None) -> _Outputs:
    return _Outputs(
        kind="assessment",
        model=Assessment,
        key=_key,
        revision_of=lambda output: output.detector,
        cache=cache or MemoryVerdictCache(max_entries=100),
        metrics=metrics or RecordedMetrics(),
    )


def _key(revision: str, item: str) -> str:
    return f"{revision} {item}"


def _open_model(**outputs: Assessment | ItemFailure) -> _Model:
    model = _Model(outputs=outputs)
    model.go.set()
    return model


async def _in_two_batches(
    cached: _Outputs, leader: _Model, follower: _Model
) -> tuple["asyncio.Task[list[ObtainedOutput[Assessment]]]", "asyncio.Task[list[ObtainedOutput[Assessment]]]"]:
    """Start two batches that need one key in common, and let the second come while the first computes."""
    first = asyncio.create_task(cached.get_many(["shared"], leader.compute))
    await leader.started.wait()
    second = asyncio.create_task(cached.get_many(["shared", "own"], follower.compute))
    await follower.started.wait()
    return first, second


async def test_equal_keys_of_one_batch_are_computed_once_and_all_get_the_output() -> None:
    model = _open_model(b=assessment(0.75))
    outputs = await _cached_outputs().get_many(["a", "b", "a", "b"], model.compute)
    assert model.calls == [["a", "b"]]
    assert [item.output for item in outputs] == [assessment(0.25), assessment(0.75)] * 2


async def test_no_keys_means_no_call_to_model_or_cache() -> None:
    model = _open_model()
    assert await _cached_outputs().get_many([], model.compute) == []
    assert model.calls == []


async def test_what_was_stored_is_not_computed_again() -> None:
    metrics, model = RecordedMetrics(), _open_model()
    cached = _cached_outputs(metrics=metrics)
    cold = await cached.get_many(["a"], model.compute)
    warm = await cached.get_many(["a", "b"], model.compute)
    assert [item.cached for item in cold + warm] == [False, True, False]
    assert model.calls == [["a"], ["b"]]
    assert metrics.total("weir_cache_hits_total") == 1
    assert metrics.total("weir_cache_misses_total") == 2


async def test_the_pieces_of_a_response_come_back_from_the_cache_as_they_were() -> None:
    judged = assessment(0.9, pieces=[scored_piece(0.9, categories={"hate": 0.4}), scored_piece(0.2, start=12, end=20)])
    cached = _cached_outputs()
    for _ in range(2):
        (found,) = await cached.get_many(["a"], _open_model(a=judged).compute)
        assert found.output == judged
    assert found.cached


async def test_only_successes_are_stored() -> None:
    cache = MemoryVerdictCache(max_entries=10)
    cached, model = _cached_outputs(cache), _open_model()
    await cached.get_many(["good", "bad"], _open_model(bad=FAILURE).compute)
    assert await cache.get_many([_key(ASKED, "good"), _key(ASKED, "bad")]) == [
        assessment(0.25).model_dump_json().encode(),
        None,
    ]
    outputs = await cached.get_many(["good", "bad"], model.compute)
    assert model.calls == [["bad"]]
    assert [item.cached for item in outputs] == [True, False]


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
    await cache.put_many({_key(ASKED, "a"): foreign})
    cached, model = _cached_outputs(cache, metrics), _open_model()
    first = await cached.get_many(["a"], model.compute)
    second = await cached.get_many(["a"], model.compute)
    assert [item.cached for item in first + second] == [False, True]
    assert metrics.total("weir_cache_foreign_total") == 1
    assert metrics.total("weir_cache_misses_total") == 1


async def test_a_dead_cache_means_that_everything_is_computed() -> None:
    cached, model = _cached_outputs(DeadVerdictCache()), _open_model()
    outputs = await cached.get_many(["a"], model.compute) + await cached.get_many(["a"], model.compute)
    assert [item.cached for item in outputs] == [False, False]


async def test_batches_at_the_same_time_share_one_computation() -> None:
    cached, leader, follower = _cached_outputs(), _Model(outputs={"shared": assessment(0.75)}), _open_model()
    first, second = await _in_two_batches(cached, leader, follower)
    leader.go.set()
    assert [item.output for item in await first] == [assessment(0.75)]
    assert [item.output for item in await second] == [assessment(0.75), assessment(0.25)]
    assert follower.calls == [["own"]]


async def test_batches_that_wait_for_each_other_both_end() -> None:
    cached, one, other = _cached_outputs(), _Model(), _Model()
    first = asyncio.create_task(cached.get_many(["a"], one.compute))
    await one.started.wait()
    second = asyncio.create_task(cached.get_many(["a", "b"], other.compute))
    await other.started.wait()
    third = asyncio.create_task(cached.get_many(["b", "a"], _open_model().compute))
    one.go.set()
    other.go.set()
    assert [len(batch) for batch in await asyncio.gather(first, second, third)] == [1, 2, 2]


async def test_a_failed_item_reaches_the_batches_that_joined() -> None:
    leader = _Model(outputs={"shared": FAILURE})
    first, second = await _in_two_batches(_cached_outputs(), leader, _open_model())
    leader.go.set()
    await first
    assert [item.output for item in await second] == [FAILURE, assessment(0.25)]


@pytest.mark.parametrize("error", [ModelUnavailableError("the model is gone"), ValueError("a fault in a neighbour")])
async def test_where_the_leader_fails_the_others_compute_for_themselves(error: Exception) -> None:
    cached, leader, follower = _cached_outputs(), _Model(), _open_model()
    leader.error = error
    first, second = await _in_two_batches(cached, leader, follower)
    leader.go.set()
    with pytest.raises(type(error), match=str(error)):
        await first
    assert [item.output for item in await second] == [assessment(0.25)] * 2
    assert follower.calls == [["own"], ["shared"]]


async def test_where_the_leader_is_cancelled_the_others_compute_for_themselves() -> None:
    cached, leader, follower = _cached_outputs(), _Model(), _open_model()
    first, second = await _in_two_batches(cached, leader, follower)
    first.cancel()
    assert [item.output for item in await second] == [assessment(0.25)] * 2
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_was_computed_before_the_model_broke_off_is_stored_and_shared() -> None:
    cached, leader = _cached_outputs(), _Model()
    leader.error = IncompleteError(ModelUnavailableError("gone"), [assessment(0.5), FAILURE, None])
    first = asyncio.create_task(cached.get_many(["a", "b", "c"], leader.compute))
    await leader.started.wait()
    follower = _open_model()
    second = asyncio.create_task(cached.get_many(["a", "b", "c", "d"], follower.compute))
    leader.go.set()
    with pytest.raises(IncompleteError, match="gone"):
        await first
    assert [item.output for item in await second] == [assessment(0.5), FAILURE, assessment(0.25), assessment(0.25)]
    again = _open_model()
    await cached.get_many(["a", "b", "c"], again.compute)
    assert follower.calls == [["d"], ["c"]]
    assert again.calls == [["b"]]


async def test_where_outages_are_noted_what_was_had_before_is_given_and_only_that_is_kept() -> None:
    cached, leader = _cached_outputs(), _open_model()
    leader.error = IncompleteError(ModelUnavailableError("gone"), [assessment(0.5), FAILURE, None])
    found = await cached.get_many(["a", "b", "c"], leader.compute, notes_outages=True)
    had, failed, missed = (item.output for item in found)
    assert (had, failed) == (assessment(0.5), FAILURE)
    assert isinstance(missed, Outage)
    assert missed.cause is leader.error
    again = _open_model()
    await cached.get_many(["a", "b", "c"], again.compute, notes_outages=True)
    assert again.calls == [["b", "c"]]


async def test_where_outages_are_noted_other_faults_are_raised() -> None:
    model = _open_model()
    model.error = ValueError("a fault")
    with pytest.raises(ValueError, match="a fault"):
        await _cached_outputs().get_many(["a"], model.compute, notes_outages=True)


async def test_an_output_is_stored_under_the_revision_that_it_names() -> None:
    old, new = "fake-detector@1", "fake-detector@2"
    cached = _cached_outputs()
    outputs = {"a": assessment(0.5, detector=old), "b": assessment(0.5, detector=new)}
    found = await cached.get_many(["a", "b"], _open_model(**outputs).compute, revision=old)
    assert [item.output for item in found] == list(outputs.values())
    for revision in (old, new):
        again = _open_model(**outputs)
        await cached.get_many(["a", "b"], again.compute, revision=revision)
        assert again.calls == [["b" if revision == old else "a"]]


async def test_a_cancelled_follower_leaves_the_leader_and_its_followers_alone() -> None:
    cached, leader = _cached_outputs(), _Model()
    first, second = await _in_two_batches(cached, leader, _open_model())
    follower = _open_model()
    third = asyncio.create_task(cached.get_many(["shared", "mine"], follower.compute))
    await follower.started.wait()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    leader.go.set()
    assert len(await first) == 1
    assert len(await third) == 2


async def test_a_model_that_gives_too_few_outputs_is_an_error_for_all_who_wait() -> None:
    async def one_too_few(items: Sequence[str]) -> list[Assessment | ItemFailure]:
        return [assessment()] * (len(items) - 1)

    with pytest.raises(ValueError, match="shorter"):
        await _cached_outputs().get_many(["a", "b"], one_too_few)


async def test_an_output_that_is_being_stored_is_not_computed_again() -> None:
    cache, follower = _SlowToStore(), _open_model()
    cached = _cached_outputs(cache)
    first = asyncio.create_task(cached.get_many(["a"], _open_model().compute))
    await cache.storing.wait()
    assert [item.output for item in await cached.get_many(["a"], follower.compute)] == [assessment(0.25)]
    assert follower.calls == []
    cache.store.set()
    assert len(await first) == 1


async def test_who_joins_does_not_wait_for_the_cache_to_store() -> None:
    cache = _SlowToStore()
    cached, leader = _cached_outputs(cache), _Model()
    first = asyncio.create_task(cached.get_many(["a"], leader.compute))
    await leader.started.wait()
    second = asyncio.create_task(cached.get_many(["a"], _open_model().compute))
    leader.go.set()
    assert len(await second) == 1
    assert not first.done()
    cache.store.set()
    await first
