"""How records flow through the worker: fast after a trickle, first results first, nothing held up by a rewriting."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.streaming.simulation import MAX_POLLED, SETTINGS, Models, Simulation
from tests.virtual_time import run_virtually

BURST = 4_000


async def burst_s(*, trickle_s: float, is_serial: bool) -> float:
    """Return how long a burst takes after a trickle of 74 records a second."""
    simulation = Simulation(Models(is_serial=is_serial))
    for _ in range(round(trickle_s * 74)):
        simulation.send(1)
        await asyncio.sleep(1 / 74)
    begun_s = simulation.now_s()
    simulation.send(BURST)
    ended_s = await simulation.until_published(simulation.num_sent)
    await simulation.end()
    return ended_s - begun_s


@pytest.mark.parametrize("is_serial", [False, True])
def test_a_burst_after_a_trickle_is_as_fast_as_one_without(*, is_serial: bool) -> None:
    alone_s = run_virtually(burst_s(trickle_s=0.0, is_serial=is_serial))
    after_trickle_s = run_virtually(burst_s(trickle_s=25.0, is_serial=is_serial))
    assert alone_s / after_trickle_s >= 0.9


async def backlog_s(models: Models) -> tuple[float, float]:
    """Return after how long the first and the last result of a backlog come out."""
    simulation = Simulation(models)
    simulation.send(4_000)
    last_s = await simulation.until_published(4_000)
    await simulation.end()
    return simulation.published[0][0], last_s


def test_the_first_results_of_a_backlog_come_out_long_before_the_last() -> None:
    first_s, last_s = run_virtually(backlog_s(Models(is_serial=True)))
    assert first_s <= 0.1 * last_s


def test_the_first_results_of_a_backlog_wait_for_one_call_of_the_model() -> None:
    first_s, _ = run_virtually(backlog_s(Models()))
    assert first_s <= 0.5 + SETTINGS.publish_interval_s + 0.1


def test_turns_are_full_while_much_waits_and_the_partitions_get_on_together() -> None:
    async def backlog() -> list[int]:
        simulation = Simulation()
        simulation.send(4_000)
        await simulation.until_published(1_000)
        offsets = simulation.broker.committed("g").values()
        # The first poll brought records of one partition alone, which were begun at once.
        assert max(offsets) - min(offsets) <= MAX_POLLED
        await simulation.until_published(4_000)
        await simulation.end()
        return simulation.models.batches

    batches = run_virtually(backlog())
    assert max(batches) == SETTINGS.batch_max_records
    assert len(batches) <= 4_000 / SETTINGS.batch_max_records + 3 * SETTINGS.concurrent_batches


def test_rewriting_a_few_does_not_slow_down_the_many() -> None:
    async def whole_s(harmful_every: int | None) -> float:
        simulation = Simulation(Models(rewrite_s=lambda: 1.0))
        simulation.send(BURST, harmful_every=harmful_every)
        ended_s = await simulation.until_published(BURST)
        await simulation.end()
        return ended_s

    assert run_virtually(whole_s(None)) / run_virtually(whole_s(100)) >= 0.8


@given(seed=st.integers(0, 1_000), losses=st.lists(st.sampled_from(["throw out", "withhold"]), max_size=4))
def test_whatever_takes_how_long_and_moves_when_each_comes_out_once_and_in_order(seed: int, losses: list[str]) -> None:
    async def law() -> None:
        drawn = random.Random(seed)
        models = Models(decide_s=lambda: drawn.uniform(0, 2), rewrite_s=lambda: drawn.uniform(0, 5))
        settings = SETTINGS.model_copy(update={"batch_max_records": 16, "in_flight_max_records": 100})
        simulation = Simulation(models, settings=settings)
        for loss in [*losses, None]:
            simulation.send(drawn.randrange(150), harmful_every=7)
            await asyncio.sleep(drawn.uniform(0, 3))
            if loss == "throw out":
                simulation.broker.throw_out("g", "0")
            elif loss == "withhold":
                taken = drawn.sample(sorted(simulation.broker.owned("g")), 2)
                simulation.broker.withhold("g", taken)
                await asyncio.sleep(drawn.uniform(0, 30))
                simulation.broker.give_back("g", taken)
        await simulation.until_published(simulation.num_sent)
        await simulation.end()

    run_virtually(law())
