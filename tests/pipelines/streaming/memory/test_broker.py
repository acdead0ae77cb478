"""The faults that the broker in memory plays on demand; its contract is tested with that of the others."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.streaming.broker import FencedError, OutgoingRecord, Record, TopicPartition
from pipelines.streaming.memory.broker import PublishFault
from protector_models.moderation.errors import BrokerUnavailableError
from tests.pipelines.streaming.brokers import (
    PARTITIONS,
    MemoryBench,
    copies,
    next_offsets,
    poll_for,
    poll_records,
    records_for,
    values,
)


@pytest.mark.parametrize("fault", [PublishFault(), PublishFault(kind="fenced")])
def test_a_fault_before_the_effect_leaves_nothing_behind(fault: PublishFault) -> None:
    bench = MemoryBench()
    bench.append(records_for(bench.stream.source_topic, 40))
    connection = bench.connect()
    records = poll_records(connection, 40)
    bench.broker.fail_publishes(fault, times=2)
    for _ in range(2):
        with pytest.raises(FencedError if fault.kind == "fenced" else BrokerUnavailableError):
            connection.publish(copies(records, bench.stream.sink_topic), next_offsets(records))
    assert bench.read(bench.stream.sink_topic) == []
    assert sum(bench.broker.committed(bench.stream.group).values()) == 0
    connection.publish(copies(records, bench.stream.sink_topic), next_offsets(records))
    assert values(bench.read(bench.stream.sink_topic)) == values(records)


def test_a_publish_whose_answer_was_lost_can_be_repeated() -> None:
    bench = MemoryBench()
    bench.append(records_for(bench.stream.source_topic, 40))
    connection = bench.connect()
    records = poll_records(connection, 40)
    bench.broker.fail_publishes(PublishFault(after_effect=True))
    with pytest.raises(BrokerUnavailableError):
        connection.publish(copies(records, bench.stream.sink_topic), next_offsets(records))
    connection.publish(copies(records, bench.stream.sink_topic), next_offsets(records))
    assert values(bench.read(bench.stream.sink_topic)) == values(records)


def test_another_publish_after_one_whose_answer_was_lost_is_fenced() -> None:
    bench = MemoryBench()
    bench.append(records_for(bench.stream.source_topic, 40))
    connection = bench.connect()
    records = poll_records(connection, 40)
    bench.broker.fail_publishes(PublishFault(after_effect=True))
    with pytest.raises(BrokerUnavailableError):
        connection.publish(copies(records[:20], bench.stream.sink_topic), next_offsets(records[:20]))
    with pytest.raises(FencedError):
        connection.publish(copies(records, bench.stream.sink_topic), next_offsets(records))
    connection.rewind()
    rest = poll_records(connection, 20)
    connection.publish(copies(rest, bench.stream.sink_topic), next_offsets(rest))
    assert values(bench.read(bench.stream.sink_topic)) == values(records)


def test_a_broker_that_is_down_answers_nobody() -> None:
    bench = MemoryBench()
    connection = bench.connect()
    bench.broker.go_down()
    with pytest.raises(BrokerUnavailableError):
        connection.poll(timeout_s=0.1, max_records=1)
    with pytest.raises(BrokerUnavailableError):
        connection.publish(records_for(bench.stream.sink_topic, 1), {})
    with pytest.raises(BrokerUnavailableError):
        connection.lag()
    with pytest.raises(BrokerUnavailableError):
        bench.connect("b")
    bench.broker.come_up()
    assert connection.poll(timeout_s=0, max_records=1) == []


def test_withheld_partitions_leave_and_come_back_at_the_committed_offset() -> None:
    bench = MemoryBench()
    bench.append(records_for(bench.stream.source_topic, 40))
    connection = bench.connect()
    records = poll_records(connection, 40)
    partition = TopicPartition(bench.stream.source_topic, 1)
    bench.broker.withhold(bench.stream.group, [partition])
    assert connection.leaving() == {partition}
    connection.let_go()
    assert connection.lost() == {partition}
    assert connection.poll(timeout_s=0, max_records=100) == []
    bench.broker.give_back(bench.stream.group, [partition])
    again = connection.poll(timeout_s=0, max_records=100)
    assert values(again) == values(record for record in records if record.source == partition)


def test_a_member_that_is_thrown_out_loses_everything_at_once_and_joins_again() -> None:
    bench = MemoryBench()
    bench.append(records_for(bench.stream.source_topic, 40))
    connection = bench.connect()
    records = poll_records(connection, 40)
    bench.broker.throw_out(bench.stream.group, "a")
    with pytest.raises(FencedError):
        connection.publish(copies(records, bench.stream.sink_topic), next_offsets(records))
    assert connection.lost() == frozenset()  # as with Kafka, a member learns of it when it polls
    again = poll_records(connection, 40)
    assert len(connection.lost()) == 4
    assert connection.leaving() == frozenset()
    assert values(again) == values(records)


@given(
    steps=st.lists(
        st.sampled_from(["append", "append elsewhere", "poll", "publish", "leave", "join", "add a partition"]),
        max_size=25,
    )
)
def test_a_group_that_began_with_the_latest_record_loses_nothing_after_it(steps: list[str]) -> None:
    bench = MemoryBench()
    stream = bench.stream.model_copy(update={"auto_offset_reset": "latest"})
    bench.append(records_for(stream.source_topic, 20))
    members = [bench.connect("0", stream=stream)]
    appended: list[OutgoingRecord] = []
    read: list[Record] = []
    num_partitions = PARTITIONS
    for number, step in enumerate(steps):
        if step.startswith("append"):
            partition = num_partitions - 1 if step == "append elsewhere" else None
            appended.append(
                OutgoingRecord(topic=stream.source_topic, key=b"%d" % number, value=b"%d" % number, partition=partition)
            )
            bench.append(appended[-1:])
        elif step == "join":
            members.append(bench.connect(str(number), stream=stream))
        elif step == "add a partition":
            bench.broker.add_partitions(stream.source_topic, 1)
            num_partitions += 1
        elif members and step == "poll":
            read = members[-1].poll(timeout_s=0, max_records=3)
        elif members and step == "publish":
            with contextlib.suppress(FencedError):
                members[-1].publish(copies(read, stream.sink_topic), next_offsets(read))
            read = []
        elif members:
            members.pop().close(timeout_s=0)
            read = []
        for member in members:
            member.let_go()
    for member in members:
        member.close(timeout_s=0)
    left = poll_for(0.0, bench.connect("heir", stream=stream))
    published = {record.value for record in bench.read(stream.sink_topic)}
    assert {record.value for record in left} == {record.value for record in appended} - published
