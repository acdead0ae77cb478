"""When a member that is fenced again and again ends, and when it goes on."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.streaming.broker import BrokerConnection, FencedError, TopicPartition
from pipelines.streaming.fencings import Fencings
from tests.pipelines.streaming.rigs import build_rig, running, until

HOUR_S = 3_600.0
IN_0 = TopicPartition("in", 0)


class Time:
    """A clock that tests put on."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@given(st.lists(st.floats(0, 2 * HOUR_S), max_size=40))
def test_six_fencings_of_which_none_is_an_hour_after_the_one_before_are_too_many(pauses_s: Sequence[float]) -> None:
    time = Time()
    fencings = Fencings(clock=time)
    in_a_row = 0
    for pause_s in pauses_s:
        before_s = time.now_s
        time.now_s += pause_s
        in_a_row = 1 if time.now_s - before_s >= HOUR_S else in_a_row + 1
        if in_a_row > 5:
            with pytest.raises(FencedError, match="scripted"):
                fencings.count(FencedError("scripted"))
        else:
            fencings.count(FencedError("scripted"))


def test_a_publish_makes_them_forgotten() -> None:
    fencings = Fencings(clock=Time())
    for _ in range(20):
        for _ in range(5):
            fencings.count(FencedError("scripted"))
        fencings.forget()


class Fenced:
    """A connection whose every second poll is fenced, many hours after the one before, until it was so often."""

    def __init__(self, connection: BrokerConnection, time: Time, *, times: int) -> None:
        self._connection = connection
        self._time = time
        self._times = times
        self.num_polls = 0

    def poll(self, *, timeout_s: float, max_records: int) -> object:
        self.num_polls += 1
        if self.num_polls % 2 and self.num_polls < 2 * self._times:
            self._time.now_s += 10 * HOUR_S
            raise FencedError("scripted")
        return self._connection.poll(timeout_s=min(timeout_s, 0.01), max_records=max_records)

    def __getattr__(self, verb: str) -> object:
        return getattr(self._connection, verb)


async def test_a_worker_of_a_quiet_topic_outlives_any_number_of_rebalances() -> None:
    rig, time = build_rig(), Time()
    connection = Fenced(rig.connect(), time, times=20)
    async with running(rig.worker_over(connection, clock=time)) as task:  # type: ignore[arg-type]  # passes the rest on
        await until(lambda: task.done() or connection.num_polls >= 40)
        rig.send("e0")
        await until(lambda: task.done() or rig.broker.committed("g").get(IN_0) == 1)
        assert not task.done()
