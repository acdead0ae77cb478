"""When there are too many dead letters, and how a worker comes back from it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.streaming.broker import TopicPartition
from pipelines.streaming.runaway_limit import RunawayDeadLettersError, RunawayLimit
from pipelines.streaming.settings import DeadLetterSettings
from tests.pipelines.streaming.rigs import SETTINGS, Rig, build_rig, running, until

IN_0 = TopicPartition("in", 0)


@dataclass
class Time:
    """A clock that tests put on."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def limit(window: int, share: float | None, *, time: Time | None = None) -> RunawayLimit:
    """Build a limit; with a clock it probes every 60 s."""
    settings = DeadLetterSettings(
        runaway_window=window, runaway_share=share, after_runaway="stay_stopped" if time is None else "probe"
    )
    return RunawayLimit(settings, clock=time or Time())


def trips_at(runaway: RunawayLimit, groups: Sequence[tuple[int, int]]) -> int | None:
    """Publish groups of (records, dead letters); return the position of the one that is refused."""
    for position, (records, dead) in enumerate(groups):
        try:
            runaway.check(num_records=records, num_dead_letters=dead)
        except RunawayDeadLettersError:
            return position
        runaway.observe(num_records=records, num_dead_letters=dead)
    return None


def test_the_limit_waits_for_a_full_window() -> None:
    assert trips_at(limit(10, 0.5), [(1, 1)] * 20) == 9


def test_the_limit_trips_above_the_share_and_not_at_it() -> None:
    assert trips_at(limit(10, 0.5), [(10, 5)] * 20) is None
    assert trips_at(limit(10, 0.5), [(10, 6)]) == 0


def test_what_was_long_ago_does_not_count() -> None:
    assert trips_at(limit(10, 0.5), [(1_000, 0), (6, 6), (4, 4)]) is None
    assert trips_at(limit(10, 0.5), [(1_000, 0), (10, 0), (6, 6), (5, 5)]) == 3


def test_without_a_share_the_limit_never_trips() -> None:
    assert trips_at(limit(1, None), [(10, 10)] * 100) is None


def test_the_refusal_says_how_many_and_which_setting() -> None:
    with pytest.raises(RunawayDeadLettersError, match=r"9 of the last 10 .* 50% \(stream.dead_letters.runaway_share\)"):
        limit(10, 0.5).check(num_records=10, num_dead_letters=9)


@given(
    groups=st.lists(
        st.tuples(st.integers(1, 8), st.integers(0, 8)).map(lambda pair: (pair[0], min(pair))), max_size=40
    ),
    window=st.integers(1, 20),
)
def test_the_limit_looks_at_a_group_and_the_fewest_groups_before_it_that_fill_the_window(
    groups: list[tuple[int, int]], window: int
) -> None:
    def is_too_much(position: int) -> bool:
        before = list(groups[:position])
        while sum(records for records, _ in before[1:]) >= window:
            del before[0]
        seen = [*before, groups[position]]
        records, dead = sum(group[0] for group in seen), sum(group[1] for group in seen)
        return records >= window and dead > records / 2

    expected = next((position for position in range(len(groups)) if is_too_much(position)), None)
    assert trips_at(limit(window, 0.5), groups) == expected


def test_who_is_to_stay_stopped_is() -> None:
    error = RunawayDeadLettersError("scripted")
    with pytest.raises(RunawayDeadLettersError):
        limit(10, 0.5).sit_out(error)


def test_a_probe_waits_is_looked_at_by_itself_and_ends_the_matter_where_it_is_good() -> None:
    time = Time()
    runaway = limit(10, 0.5, time=time)
    runaway.observe(num_records=9, num_dead_letters=9)
    runaway.sit_out(RunawayDeadLettersError("scripted"))
    assert (runaway.is_probing, runaway.is_waiting) == (True, True)
    time.now_s += 60
    assert (runaway.is_probing, runaway.is_waiting) == (True, False)
    with pytest.raises(RunawayDeadLettersError, match="2 of the last 3"):
        runaway.check(num_records=3, num_dead_letters=2)
    runaway.check(num_records=2, num_dead_letters=1)
    runaway.observe(num_records=2, num_dead_letters=1)
    assert not runaway.is_probing
    runaway.check(num_records=7, num_dead_letters=7)  # the window is not full again


PROBING = SETTINGS.model_copy(
    update={
        "dead_letters": DeadLetterSettings(
            topic="dead", runaway_window=8, runaway_share=0.5, after_runaway="probe", probe_interval_s=0.05
        )
    }
)


def num_stops(rig: Rig) -> int:
    return rig.metrics.total("weir_runaway_stops_total")


async def test_a_worker_comes_back_when_the_cause_is_gone_and_nothing_healthy_was_lost() -> None:
    rig = build_rig(settings=PROBING)
    rig.send("good0", "good1")
    # What every detector would choke on, until it is mended.
    rig.send(*[f"e{number}" for number in range(30)], response="POISON")
    worker = rig.worker()
    async with running(worker):
        await until(lambda: num_stops(rig) >= 3)
        assert worker.status().is_runaway
        num_letters = len(rig.dead_letters())
        assert rig.broker.committed("g").get(IN_0, 0) == len(rig.moderated_ids()) + num_letters < 10
        rig.moderator.mended = True
        rig.send("good2")
        await until(lambda: rig.broker.committed("g")[IN_0] == 33)
        assert not worker.status().is_runaway
    assert len(rig.dead_letters()) == num_letters
    assert rig.moderated_ids()[-1] == "good2"
    assert len(set(rig.moderated_ids())) == len(rig.moderated_ids()) == 33 - num_letters


@pytest.mark.parametrize(
    ("good", "bad"), [((8, 9, 10), (7,)), ((7,), (8, 9, 10))], ids=["better than its first part", "worse"]
)
async def test_a_probe_is_judged_as_a_whole_however_few_results_a_transaction_holds(
    good: Sequence[int], bad: Sequence[int]
) -> None:
    rig = build_rig(settings=PROBING.model_copy(update={"publish_max_records": 1}))
    rig.send_bytes(*[b"nonsense"] * 7)
    for number in sorted([*good, *bad]):
        if number in good:
            rig.send(f"e{number}")
        else:
            rig.send_bytes(b"nonsense")
    async with running(rig.worker()):
        if len(good) > len(bad):
            await until(lambda: rig.broker.committed("g").get(IN_0) == 11)
        else:
            await until(lambda: num_stops(rig) >= 4)
            assert rig.broker.committed("g").get(IN_0) == 7


async def test_a_worker_that_waits_for_a_probe_polls_and_stops_when_it_is_told_to() -> None:
    dead_letters = PROBING.dead_letters.model_copy(update={"probe_interval_s": 1_000.0})
    rig = build_rig(settings=PROBING.model_copy(update={"dead_letters": dead_letters}))
    rig.send_bytes(*[b"nonsense"] * 20)
    worker = rig.worker()
    async with running(worker) as task:
        await until(lambda: num_stops(rig) == 1)
        await asyncio.sleep(0.05)
        assert worker.status().seconds_since_poll < 5.0
        assert worker.status().records_in_flight == 0
    assert task.exception() is None
    assert len(rig.dead_letters()) < 8


async def test_what_is_wrong_with_the_records_themselves_is_published_no_sooner_than_somebody_says_so() -> None:
    rig = build_rig(settings=PROBING)
    rig.send_bytes(*[b"nonsense"] * 20)
    async with running(rig.worker()):
        await until(lambda: num_stops(rig) >= 4)
    assert len(rig.dead_letters()) < 8
    tolerant = PROBING.dead_letters.model_copy(update={"runaway_share": None})
    rig.settings = PROBING.model_copy(update={"dead_letters": tolerant})
    async with running(rig.worker()):
        await until(lambda: len(rig.dead_letters()) == 20)
