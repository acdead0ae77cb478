"""Each verb of the port to the broker fails once, at any of its calls: nothing is lost and nothing comes twice."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pipelines.streaming import worker
from pipelines.streaming.broker import FencedError, TopicPartition
from pipelines.streaming.memory.broker import PublishFault
from protector_models.moderation.errors import BrokerUnavailableError
from tests.pipelines.streaming.faulty_connection import VERBS, FaultyConnection
from tests.pipelines.streaming.rigs import SETTINGS, Rig, build_rig, running, until

PARTITIONS = (TopicPartition("in", 0), TopicPartition("in", 1))
NUM_EVENTS = 24
ONE_BY_ONE = SETTINGS.model_copy(update={"batch_max_records": 3, "publish_max_records": 3, "in_flight_max_records": 9})
"""Bounds that are reached, so that all verbs are used."""


class UnforeseenError(Exception):
    """What no contract speaks of."""


@pytest.fixture(autouse=True, scope="module")
def _short_polls() -> Iterator[None]:
    """A worker that is idle learns sooner that it shall stop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_IDLE_POLL_S", 0.01)
        patch.setattr(worker, "_BUSY_POLL_S", 0.002)
        yield


def send(rig: Rig, first: int, last: int) -> None:
    """Send events of some conversations, which go to both partitions; every fourth is to be rewritten."""
    for number in range(first, last):
        response = "fine" if number % 4 else "harm=0.9"
        rig.send(f"e{number}", conversation_id=f"c{number % 5}", response=response)


async def work_through(rig: Rig, connection: FaultyConnection) -> None:
    """Let a worker over a connection, and others after it, moderate all that there is, while partitions move."""
    send(rig, 0, NUM_EVENTS // 2)
    first = rig.worker_over(connection)
    async with running(first) as task:
        await until(lambda: task.done() or len(rig.broker.read("out")) >= 4)
        if not task.done():
            with contextlib.suppress(BrokerUnavailableError, UnforeseenError):
                await first.lag()
        rig.broker.withhold("g", PARTITIONS[:1])
        send(rig, NUM_EVENTS // 2, NUM_EVENTS)
        await until(lambda: task.done() or PARTITIONS[0] not in rig.broker.owned("g"))
        rig.broker.give_back("g", PARTITIONS)
        await until(lambda: task.done() or rig.num_committed() == NUM_EVENTS)
    error = task.exception()
    assert error is None or isinstance(error, UnforeseenError)
    if rig.num_committed() < NUM_EVENTS:
        async with running(rig.worker()):
            await until(lambda: rig.num_committed() == NUM_EVENTS)


def assert_each_once_and_in_order(rig: Rig) -> None:
    came: dict[str, list[str]] = {}
    for verdict in rig.moderated():
        came.setdefault(verdict.conversation_id, []).append(verdict.event_id)
    expected = {f"c{i}": [f"e{number}" for number in range(i, NUM_EVENTS, 5)] for i in range(5)}
    assert came == expected
    assert rig.dead_letters() == []


@settings(max_examples=25)
@given(
    verb=st.sampled_from(VERBS),
    call=st.integers(1, 12),
    kind=st.sampled_from([BrokerUnavailableError, FencedError, UnforeseenError]),
)
@example(verb="lost", call=1, kind=BrokerUnavailableError)
@example(verb="leaving", call=1, kind=FencedError)
@example(verb="let_go", call=1, kind=BrokerUnavailableError)
@example(verb="publish", call=2, kind=UnforeseenError)
def test_a_call_that_fails_before_its_effect_loses_and_doubles_nothing(
    verb: str, call: int, kind: type[Exception]
) -> None:
    assume(verb != "close" or kind is UnforeseenError)  # nothing may be raised by it

    async def law() -> None:
        rig = build_rig(partitions=2, settings=ONE_BY_ONE)
        connection = FaultyConnection(rig.connect(), verb, call=call, error=kind("scripted"))
        await work_through(rig, connection)
        assert_each_once_and_in_order(rig)

    asyncio.run(law())


@settings(max_examples=25)
@given(
    verb=st.sampled_from([verb for verb in VERBS if verb != "poll"]),
    call=st.integers(1, 12),
    kind=st.sampled_from([BrokerUnavailableError, FencedError, UnforeseenError]),
)
@example(verb="lost", call=2, kind=BrokerUnavailableError)
def test_a_call_that_fails_after_its_effect_loses_and_doubles_nothing(
    verb: str, call: int, kind: type[Exception]
) -> None:
    """What `poll` has read before it fails comes again: see its contract, and the test of the connection to Kafka."""
    assume(verb != "close" or kind is UnforeseenError)  # nothing may be raised by it

    async def law() -> None:
        rig = build_rig(partitions=2, settings=ONE_BY_ONE)
        if verb == "publish" and kind is BrokerUnavailableError:
            # Its outcome in doubt is the connection's own business: the broker plays it.
            connection = FaultyConnection(rig.connect(), "publish", call=0, error=kind("scripted"))
            rig.broker.fail_publishes(PublishFault(after_effect=True))
        else:
            connection = FaultyConnection(rig.connect(), verb, call=call, error=kind("scripted"), after_effect=True)
        await work_through(rig, connection)
        assert_each_once_and_in_order(rig)

    asyncio.run(law())


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in {"lag", "let_go", "rewind"}])
async def test_an_error_that_nobody_foresaw_ends_the_worker_loudly(verb: str) -> None:
    rig = build_rig(partitions=2, settings=ONE_BY_ONE)
    connection = FaultyConnection(rig.connect(), verb, call=1, error=UnforeseenError("scripted"))
    first = rig.worker_over(connection)
    rig.moderator.held["e0"] = asyncio.Event()
    send(rig, 0, NUM_EVENTS)
    task = asyncio.create_task(first.run())
    await until(lambda: task.done() or first.status().records_in_flight >= 9)
    rig.moderator.held["e0"].set()
    if verb == "close":
        first.stop()
    await until(task.done)
    assert isinstance(task.exception(), UnforeseenError)
