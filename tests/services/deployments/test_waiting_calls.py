"""Calls that wait for their turn, by a clock that jumps: waiting accuses nobody, and what takes too long is found."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.errors import LateError, ModelUnavailableError, SuspectBatchError
from protector_models.running.deadlines import within
from services.deployments.calls import Calls
from services.settings import CallSettings
from tests.services.deployments.fake_handle import FakeDeployment, FakeHandle
from tests.virtual_time import run_virtually

TIMEOUT_S = 120.0


class Replica:
    """Takes as many seconds for a call as its item says, one call after the other, and no more than it may."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def compute(self, items: Sequence[float], remaining_s: float) -> list[float]:
        """Return the items."""
        return await within(remaining_s, lambda: self._compute(items), waiting_for="model")

    async def _compute(self, items: Sequence[float]) -> list[float]:
        async with self._turn:
            await asyncio.sleep(min(items[0], TIMEOUT_S))
        if items[0] > TIMEOUT_S:
            raise LateError("model: no result in time")
        return list(items)


def connect(replica: object) -> Calls[float, float]:
    """Return calls to a replica."""
    return Calls(
        FakeHandle(FakeDeployment(replica)),
        "compute",
        timeout_s=TIMEOUT_S,
        settings=CallSettings(max_concurrent=64),
        size=lambda _: 1,
        max_size=1,
        max_items=1,
    )


@given(st.lists(st.floats(1, 200), min_size=1, max_size=12))
def test_only_what_takes_too_long_from_its_turn_on_is_accused(durations_s: list[float]) -> None:
    async def end(calls: Calls[float, float], duration_s: float) -> ModelUnavailableError | None:
        try:
            assert await calls.map([duration_s]) == [duration_s]
        except ModelUnavailableError as error:
            return error
        return None

    async def law() -> None:
        calls = connect(Replica())
        ends = await asyncio.gather(*(end(calls, duration_s) for duration_s in durations_s))
        turn_s = 0.0
        for duration_s, error in zip(durations_s, ends, strict=True):
            if isinstance(error, SuspectBatchError):
                assert duration_s > TIMEOUT_S
            if turn_s <= TIMEOUT_S - 1:
                assert isinstance(error, LateError) if duration_s > TIMEOUT_S else error is None
            turn_s += min(duration_s, TIMEOUT_S)

    run_virtually(law())


def test_a_replica_that_never_answers_is_away() -> None:
    class Wedged:
        async def compute(self, _items: Sequence[float], _remaining_s: float) -> list[float]:
            await asyncio.Event().wait()
            return []

    async def wait() -> None:
        with pytest.raises(ModelUnavailableError) as caught:
            await connect(Wedged()).map([1.0])
        assert not isinstance(caught.value, SuspectBatchError)
        # Long enough for Serve to find it ill and to end it meanwhile: that accuses.
        assert asyncio.get_running_loop().time() == 2 * TIMEOUT_S

    run_virtually(wait())
