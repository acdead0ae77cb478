"""Replay of dead letters over a broker in memory: each once, also over interruptions."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest

from pipelines.streaming.broker import BrokerConnection, OutgoingRecord, Record, TopicPartition
from pipelines.streaming.dead_letter import attempt_of, dead_letter, facts_of
from pipelines.streaming.memory_broker import MemoryBroker, PublishFault
from pipelines.streaming.replay import ReplayCount, replay, replay_settings
from protector_models.moderation.errors import BrokerUnavailableError
from protector_models.moderation.verdict import Failure, Stage
from tests.pipelines.streaming.records import record
from tests.pipelines.streaming.rigs import SETTINGS, Rig, build_rig, running, until

STREAM = replay_settings(SETTINGS)
DEAD_0 = TopicPartition("dead", 0)


def letter(number: int, *, error: str = "Poison", value: bytes | None = None) -> OutgoingRecord:
    """Build the dead letter of a record that was called after its number."""
    failed = record(number, key=b"c", value=value or b"value-%d" % number, headers=(("trace", b"%d" % number),))
    failure = Failure(stage=Stage.ASSESS, error=error, message="scripted")
    return dead_letter(failed, failure, topic="dead", group="g", versions={}, record_max_bytes=10_000)


def broker_with(letters: Sequence[OutgoingRecord]) -> MemoryBroker:
    broker = MemoryBroker({"in": 1, "dead": 1, "out": 1})
    broker.append(letters)
    return broker


def all_of(_: Record) -> bool:
    return True


def run(
    connection: BrokerConnection, ends: Mapping[TopicPartition, int], is_wanted: Callable[[Record], bool] = all_of
) -> ReplayCount:
    return replay(connection, ends, is_wanted=is_wanted, on_progress=lambda _: None, quiet_s=0.05)


def replay_all(broker: MemoryBroker, is_wanted: Callable[[Record], bool] = all_of) -> ReplayCount:
    """Replay as the command does, up to the present end."""
    connection = broker.connect(STREAM, member="replay")
    try:
        return run(connection, {DEAD_0: len(broker.read("dead"))}, is_wanted)
    finally:
        connection.close(timeout_s=1.0)


def test_the_replay_reads_the_dead_letters_from_their_beginning_in_a_group_of_its_own() -> None:
    assert STREAM.source_topic == SETTINGS.dead_letters.topic
    assert STREAM.group != SETTINGS.group
    assert replay_settings(SETTINGS.model_copy(update={"auto_offset_reset": "latest"})) == STREAM


def test_every_letter_goes_back_once_as_it_was_and_remembers_its_attempt() -> None:
    broker = broker_with([letter(number) for number in range(3)])
    assert replay_all(broker) == ReplayCount(replayed=3)
    back = broker.read("in")
    assert [(r.key, r.value) for r in back] == [(b"c", b"value-%d" % number) for number in range(3)]
    assert [dict(r.headers)["trace"] for r in back] == [b"0", b"1", b"2"]
    assert [attempt_of(r.headers) for r in back] == [1, 1, 1]


def test_a_second_replay_does_nothing_and_a_later_letter_is_replayed_then() -> None:
    broker = broker_with([letter(0)])
    replay_all(broker)
    assert replay_all(broker) == ReplayCount()
    broker.append([letter(1)])
    assert replay_all(broker) == ReplayCount(replayed=1)
    assert [r.value for r in broker.read("in")] == [b"value-0", b"value-1"]


def test_letters_that_are_not_asked_for_are_passed_over_and_count_as_handled() -> None:
    broker = broker_with([letter(0, error="A"), letter(1, error="B"), letter(2, error="A")])

    def is_wanted(record: Record) -> bool:
        return facts_of(record.headers)["error"] == "B"

    assert replay_all(broker, is_wanted) == ReplayCount(replayed=1, passed_over=2)
    assert [r.value for r in broker.read("in")] == [b"value-1"]
    assert broker.committed(STREAM.group)[DEAD_0] == 3
    assert replay_all(broker) == ReplayCount()


def test_letters_that_are_all_passed_over_are_handled_too() -> None:
    broker = broker_with([letter(0), letter(1)])
    assert replay_all(broker, lambda _: False) == ReplayCount(passed_over=2)
    assert replay_all(broker) == ReplayCount()


def test_letters_without_their_value_and_records_that_are_no_letters_do_not_hold_up_the_others() -> None:
    stranger = OutgoingRecord(topic="dead", key=None, value=b"x")
    broker = broker_with([letter(0, value=b"x" * 20_000), stranger, letter(1)])
    assert replay_all(broker) == ReplayCount(replayed=1, impossible=2)
    assert [r.value for r in broker.read("in")] == [b"value-1"]


def test_what_comes_after_the_end_is_left_for_the_next_replay() -> None:
    broker = broker_with([letter(number) for number in range(4)])
    connection = broker.connect(STREAM, member="replay")
    assert run(connection, {DEAD_0: 2}) == ReplayCount(replayed=2)
    connection.close(timeout_s=1.0)
    assert broker.committed(STREAM.group)[DEAD_0] == 2
    assert replay_all(broker) == ReplayCount(replayed=2)
    assert len(broker.read("in")) == 4


def test_a_topic_without_letters_ends_by_itself() -> None:
    assert replay_all(broker_with([])) == ReplayCount()


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("kind", ["transient", "fenced"])
def test_a_replay_that_is_interrupted_replays_each_letter_once_in_the_end(kind: str, after_effect: bool) -> None:
    broker = broker_with([letter(number) for number in range(1_200)])
    broker.fail_publishes(PublishFault(kind=kind, after_effect=after_effect))  # type: ignore[arg-type]  # a literal
    with pytest.raises(BrokerUnavailableError):
        replay_all(broker)
    replay_all(broker)
    assert [r.value for r in broker.read("in")] == [b"value-%d" % number for number in range(1_200)]


def test_progress_is_told_as_letters_go_back() -> None:
    broker = broker_with([letter(number) for number in range(1_200)])
    connection = broker.connect(STREAM, member="replay")
    told: list[int] = []
    replay(
        connection,
        {DEAD_0: 1_200},
        is_wanted=all_of,
        on_progress=lambda count: told.append(count.replayed),
        quiet_s=0.05,
    )
    connection.close(timeout_s=1.0)
    assert told == sorted(set(told))
    assert told[-1] == 1_200


async def fail_once(rig: Rig, number_of_letters: int) -> None:
    """Let the worker read what is there until so many letters are dead."""
    async with running(rig.worker()):
        await until(lambda: len(rig.dead_letters()) >= number_of_letters)


async def test_a_record_that_fails_again_comes_back_with_a_higher_attempt() -> None:
    rig = build_rig()
    rig.send_bytes(b"nonsense")
    for attempt in (1, 2, 3):
        await fail_once(rig, attempt)
        assert facts_of(rig.dead_letters()[-1].headers)["attempt"] == str(attempt)
        count = await asyncio.to_thread(replay_all, rig.broker)
        assert count.replayed == 1
    assert [r.value for r in rig.broker.read("in")] == [b"nonsense"] * 4


async def test_a_record_that_succeeds_after_its_replay_says_nothing_of_it() -> None:
    rig = build_rig()
    rig.send("e0")
    (source,) = rig.broker.read("in")
    failure = Failure(stage=Stage.ASSESS, error="Poison", message="scripted")
    dead = dead_letter(source, failure, topic="dead", group="g", versions={}, record_max_bytes=10_000)
    rig.broker.append([dead])
    await asyncio.to_thread(replay_all, rig.broker)
    async with running(rig.worker()):
        await until(lambda: len(rig.moderated_ids()) == 2)
    assert [r.headers for r in rig.broker.read("out")] == [(), ()]
