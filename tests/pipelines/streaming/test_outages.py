"""When a worker gives up on its broker: one that answered in between is there, however far apart it stumbles."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.streaming import worker as worker_module
from pipelines.streaming.broker import BrokerConnection, OutgoingRecord, Record, TopicPartition
from pipelines.streaming.worker import StreamWorker
from protector_models.moderation.errors import BrokerUnavailableError
from tests.pipelines.streaming.rigs import SETTINGS, Rig, build_rig, running, until

GIVE_UP_S = 600.0
PATIENT = SETTINGS.model_copy(update={"retry_give_up_s": GIVE_UP_S, "retry_initial_s": 0.0001, "retry_max_s": 0.0001})
IN_0 = TopicPartition("in", 0)


@dataclass
class Time:
    """A clock that tests put on."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Stumbling:
    """A connection whose polls and publishes fail by a script, each after some seconds."""

    connection: BrokerConnection
    time: Time
    polls: list[tuple[float, bool]] = field(default_factory=list)
    """For each of the next polls: seconds that it takes, and whether it fails. After them nothing does."""
    publishes: list[tuple[float, bool]] = field(default_factory=list)

    def poll(self, *, timeout_s: float, max_records: int) -> list[Record]:
        self._stumble(self.polls)
        return self.connection.poll(timeout_s=timeout_s, max_records=max_records)

    def publish(self, records: Sequence[OutgoingRecord], next_offsets: dict[TopicPartition, int]) -> None:
        self._stumble(self.publishes)
        self.connection.publish(records, next_offsets)

    def _stumble(self, script: list[tuple[float, bool]]) -> None:
        if script:
            seconds, fails = script.pop(0)
            self.time.now_s += seconds
            if fails:
                raise BrokerUnavailableError("scripted")

    def __getattr__(self, verb: str) -> object:
        return getattr(self.connection, verb)


def stumbling(rig: Rig) -> tuple[StreamWorker, Stumbling]:
    time = Time()
    connection = Stumbling(rig.connect(), time)
    return rig.worker_over(connection, clock=time), connection  # type: ignore[arg-type]  # passes the rest on


@pytest.fixture(autouse=True, scope="module")
def _short_polls() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_module, "_IDLE_POLL_S", 0.001)
        patch.setattr(worker_module, "_BUSY_POLL_S", 0.001)
        yield


async def test_two_hiccups_far_apart_while_a_batch_takes_long_are_two() -> None:
    rig = build_rig(settings=PATIENT)
    gate = rig.moderator.held["e0"] = asyncio.Event()
    rig.send("e0")
    worker, connection = stumbling(rig)
    async with running(worker) as task:
        await until(lambda: "e0" in rig.moderator.called)
        connection.polls += [(0.0, True), (GIVE_UP_S / 2, False), (GIVE_UP_S, True), (0.0, False)]
        await until(lambda: task.done() or not connection.polls)
        gate.set()
        await until(lambda: task.done() or rig.moderated_ids() == ["e0"])
    assert task.exception() is None


async def test_a_publish_that_fails_while_polls_succeed_is_given_up_in_time() -> None:
    rig = build_rig(settings=PATIENT)
    rig.send("e0")
    worker, connection = stumbling(rig)
    connection.publishes += [(GIVE_UP_S / 4, True)] * 100
    with pytest.raises(BrokerUnavailableError):
        await asyncio.wait_for(worker.run(), 30)
    assert 90 < len(connection.publishes) < 97


async def test_a_publish_that_failed_and_is_wanted_no_more_leaves_no_outage_behind() -> None:
    rig = build_rig(settings=PATIENT)
    rig.send("e0")
    worker, connection = stumbling(rig)
    connection.publishes += [(0.0, True)] * 3
    async with running(worker) as task:
        await until(lambda: len(connection.publishes) < 3)
        rig.moderator.held["e0"] = asyncio.Event()
        rig.broker.throw_out("g", "0")
        await until(lambda: task.done() or rig.moderator.called.count("e0") == 2)
        connection.publishes[:] = [(GIVE_UP_S * 2, True)]
        rig.moderator.held["e0"].set()
        await until(lambda: task.done() or rig.moderated_ids() == ["e0"])
    assert task.exception() is None


@settings(max_examples=60, deadline=None)
@given(script=st.lists(st.tuples(st.sampled_from([0.0, 100.0, 350.0, 700.0]), st.booleans()), max_size=12))
def test_the_worker_gives_up_where_polls_fail_in_a_row_for_too_long_and_nowhere_else(
    script: list[tuple[float, bool]],
) -> None:
    async def law() -> bool:
        rig = build_rig(settings=PATIENT)
        worker, connection = stumbling(rig)
        connection.polls += script
        async with running(worker) as task:
            await until(lambda: task.done() or not connection.polls)
        return task.exception() is not None

    assert asyncio.run(law()) is gives_up(script)


def gives_up(script: Sequence[tuple[float, bool]]) -> bool:
    since: float | None = None
    now = 0.0
    for seconds, fails in script:
        now += seconds
        if not fails:
            since = None
        elif since is None:
            since = now
        elif now - since >= GIVE_UP_S:
            return True
    return False
