"""Replay of dead letters over a broker in memory: each once, also over interruptions."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from pipelines.streaming.broker import BrokerConnection, OutgoingRecord, Record, TopicPartition
from pipelines.streaming.dead_letter import attempt_of, dead_letter, facts_of, original_headers
from pipelines.streaming.memory.broker import MemoryBroker, PublishFault
from pipelines.streaming.replay import ReplayCount, replay, replay_settings
from pipelines.streaming.replayed_places import ReplayedPlaces
from protector_models.moderation.errors import BrokerUnavailableError
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Failure
from tests.pipelines.streaming.records import as_read, record
from tests.pipelines.streaming.rigs import SETTINGS, Rig, build_rig, running, until

STREAM = replay_settings(SETTINGS)
DEAD_0 = TopicPartition("dead", 0)
PLACES = ReplayedPlaces(letters="dead", letters_id="id", group=STREAM.group)


def letter(
    number: int, *, error: str = "Poison", value: bytes | None = None, topic: str = "in", partition: int = 0
) -> OutgoingRecord:
    """Build the dead letter of a record that was called after its number."""
    failed = record(
        number,
        topic=topic,
        partition=partition,
        key=b"c",
        value=value or b"value-%d" % number,
        headers=(("trace", b"%d" % number),),
    )
    failure = Failure(stage=Stage.ASSESS, error=error, message="scripted")
    return dead_letter(failed, failure, topic="dead", group="g", versions={}, record_max_bytes=10_000)


def broker_with(letters: Sequence[OutgoingRecord]) -> MemoryBroker:
    broker = MemoryBroker({"in": 1, "dead": 1, "out": 1, "dead.replayed": 1})
    broker.append(letters)
    return broker


def all_of(_: Record) -> bool:
    return True


def run(
    broker: MemoryBroker,
    connection: BrokerConnection,
    ends: Mapping[TopicPartition, int],
    is_wanted: Callable[[Record], bool] = all_of,
    on_progress: Callable[[ReplayCount], None] = lambda _: None,
) -> ReplayCount:
    return replay(
        connection,
        ends,
        places=PLACES,
        replayed_before=PLACES.read(broker.read("dead.replayed"), ends),
        num_partitions=broker.num_partitions,
        is_wanted=is_wanted,
        on_progress=on_progress,
        quiet_s=0.05,
    )


def replay_all(broker: MemoryBroker, is_wanted: Callable[[Record], bool] = all_of) -> ReplayCount:
    """Replay as the command does, up to the present end."""
    connection = broker.connect(STREAM, member="replay")
    try:
        return run(broker, connection, {DEAD_0: len(broker.read("dead"))}, is_wanted)
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


def test_a_place_that_the_group_has_forgotten_is_still_known() -> None:
    broker = broker_with([letter(0), letter(1)])
    replay_all(broker)
    broker.forget_offsets(STREAM.group)
    broker.append([letter(2)])
    assert replay_all(broker) == ReplayCount(replayed=1)
    assert [r.value for r in broker.read("in")] == [b"value-0", b"value-1", b"value-2"]


def test_a_place_in_letters_that_were_thrown_away_does_not_count_for_new_ones() -> None:
    broker = broker_with([letter(0), letter(1)])
    anew = replace(PLACES, letters_id="another id")
    records = [as_read(place, offset=0) for place in PLACES.written({DEAD_0: 2})]
    assert PLACES.read(records, [DEAD_0]) == {DEAD_0: 2}
    assert anew.read(records, [DEAD_0]) == {}
    assert replace(PLACES, group="another").read(records, [DEAD_0]) == {}
    replay_all(broker)
    assert PLACES.read(broker.read("dead.replayed"), [DEAD_0]) == {DEAD_0: 2}


def test_a_letter_whose_topic_is_gone_does_not_hold_up_the_others() -> None:
    gone = [letter(number, topic=topic) for number, topic in ((0, "gone"), (1, "../nonsense"))]
    broker = broker_with([letter(2), *gone, letter(3)])
    assert replay_all(broker) == ReplayCount(replayed=2, impossible=2)
    assert [r.value for r in broker.read("in")] == [b"value-2", b"value-3"]


def test_a_record_that_its_topic_does_not_take_any_more_does_not_hold_up_the_others() -> None:
    broker = broker_with([letter(0), letter(1, value=b"x" * 5_000), letter(2)])
    broker.set_limit("in", 1_000)
    assert replay_all(broker) == ReplayCount(replayed=2, impossible=1)
    assert [r.value for r in broker.read("in")] == [b"value-0", b"value-2"]


def test_a_record_goes_into_its_old_partition_if_there_is_one_and_where_its_key_belongs_if_not() -> None:
    broker = broker_with([letter(number, partition=number) for number in range(4)])
    broker.add_partitions("in", 2)
    assert replay_all(broker) == ReplayCount(replayed=4)
    placed = {r.value: r.source.partition for r in broker.read("in")}
    assert [placed[b"value-%d" % number] for number in range(3)] == [0, 1, 2]


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
    assert run(broker, connection, {DEAD_0: 2}) == ReplayCount(replayed=2)
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
    run(broker, connection, {DEAD_0: 1_200}, on_progress=lambda count: told.append(count.replayed))
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


async def test_a_header_without_a_value_stays_one_through_dead_letter_replay_and_moderation() -> None:
    headers = (("trace", None), ("trace", b""), ("trace", b"x"), ("weir-attempt", None))
    rig = build_rig()
    rig.broker.append([OutgoingRecord(topic="in", key=b"c", value=b"nonsense", headers=headers)])
    rig.send("e0", headers=headers)
    await fail_once(rig, 1)
    await asyncio.to_thread(replay_all, rig.broker)
    letter, back, moderated = rig.dead_letters()[0], rig.broker.read("in")[-1], rig.broker.read("out")[0]
    for kept in (letter, back, moderated):
        assert original_headers(kept.headers) == headers[:3]
    assert moderated.headers == headers[:3]
