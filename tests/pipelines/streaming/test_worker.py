"""The laws of the streaming worker, over a broker in memory."""

import asyncio
import random
import threading

import pytest

from pipelines.streaming.broker import FencedError, OutgoingRecord, TopicPartition
from pipelines.streaming.dead_letter import LEAST_RECORD_BYTES, facts_of
from pipelines.streaming.memory.broker import PublishFault
from pipelines.streaming.runaway_limit import RunawayDeadLettersError
from pipelines.streaming.settings import DeadLetterSettings
from protector_models.moderation.errors import BrokerUnavailableError, ConfigurationError, ModelUnavailableError
from protector_models.moderation.verdict import Action
from tests.pipelines.streaming.rigs import SETTINGS, build_rig, running, until

IN_0 = TopicPartition("in", 0)


async def test_every_event_comes_out_once_and_in_order() -> None:
    rig = build_rig()
    ids = [f"e{number}" for number in range(50)]
    rig.send(*ids)
    async with running(rig.worker()):
        await until(lambda: len(rig.broker.read("out")) >= 50)
    assert rig.moderated_ids() == ids
    assert rig.broker.committed("g")[IN_0] == 50
    assert rig.metrics.total("weir_records_read_total") == rig.metrics.total("weir_records_published_total") == 50


async def test_a_finished_batch_waits_for_a_slow_one_before_it() -> None:
    rig = build_rig()
    rig.moderator.held["e0"] = asyncio.Event()
    rig.send(*[f"e{number}" for number in range(8)])
    worker = rig.worker()
    async with running(worker):
        await until(lambda: "e7" in rig.moderator.called and worker.status().records_in_flight == 8)
        await asyncio.sleep(0.05)
        assert rig.broker.read("out") == []
        assert rig.broker.committed("g").get(IN_0, 0) == 0
        rig.moderator.held["e0"].set()
        await until(lambda: len(rig.broker.read("out")) == 8)
    assert rig.moderated_ids() == [f"e{number}" for number in range(8)]


async def test_order_holds_per_partition_when_batches_finish_in_any_order() -> None:
    rig = build_rig(partitions=3)
    shuffled = random.Random(7)
    sent: dict[str, list[str]] = {}
    for number in range(60):
        conversation = f"c{shuffled.randrange(9)}"
        event_id = f"e{number}"
        rig.moderator.held[event_id] = asyncio.Event()
        sent.setdefault(conversation, []).append(event_id)
        rig.send(event_id, conversation_id=conversation)
    gates = list(rig.moderator.held.values())
    shuffled.shuffle(gates)
    async with running(rig.worker()):
        for gate in gates:
            await asyncio.sleep(0.001)
            gate.set()
        await until(lambda: len(rig.broker.read("out")) == 60)
    came: dict[str, list[str]] = {}
    for verdict in rig.moderated():
        came.setdefault(verdict.conversation_id, []).append(verdict.event_id)
    assert came == sent


async def test_bad_bytes_become_dead_letters_with_their_history_and_the_rest_goes_on() -> None:
    rig = build_rig()
    bad = [b"nonsense", b"", b"\xff\xfe", b"[]", None, b'{"schema_version": 2}']
    rig.send("e0")
    rig.send_bytes(*bad)
    rig.send("e1")
    async with running(rig.worker()):
        await until(lambda: len(rig.moderated_ids()) == 2)
    letters = rig.dead_letters()
    assert [letter.value for letter in letters] == bad
    facts = facts_of(letters[0].headers)
    assert facts["original-topic"] == "in"
    assert (facts["original-partition"], facts["original-offset"]) == ("0", "1")
    assert (facts["stage"], facts["error"], facts["attempt"]) == ("decode", "InvalidEvent", "1")
    assert facts["versions"] == "weir=test"
    assert rig.broker.committed("g")[IN_0] == 8
    assert rig.metrics.total("weir_records_published_total") == 8


async def test_an_event_without_response_and_without_mllm_is_a_dead_letter_that_says_so() -> None:
    rig = build_rig()
    rig.send_bytes(
        b'{"schema_version":1,"event_id":"e","conversation_id":"c","occurred_at":"2026-01-31T12:00:00Z",'
        b'"messages":[{"role":"user","content":"hi"}],"response":null}'
    )
    async with running(rig.worker()):
        await until(lambda: len(rig.dead_letters()) == 1)
    facts = facts_of(rig.dead_letters()[0].headers)
    assert (facts["stage"], facts["error"]) == ("generate", "NoMllmConfigured")


async def test_a_result_larger_than_the_broker_takes_is_a_dead_letter_that_points_to_the_original() -> None:
    rig = build_rig(settings=SETTINGS.model_copy(update={"record_max_bytes": 5_000}))
    rig.send("big", response="x" * 6_000)
    rig.send("small")
    async with running(rig.worker()):
        await until(lambda: rig.moderated_ids() == ["small"])
    (letter,) = rig.dead_letters()
    facts = facts_of(letter.headers)
    assert facts["error"] == "RecordTooLarge"
    assert letter.value is None
    assert int(facts["value-omitted-bytes"]) > 6_000


async def test_a_record_without_key_and_value_is_a_dead_letter_that_says_so_and_the_rest_goes_on() -> None:
    rig = build_rig()
    rig.broker.append([OutgoingRecord(topic="in", key=None, value=None)])
    rig.broker.append([OutgoingRecord(topic="in", key=None, value=b"x" * 20_000_000)])
    rig.send("e0")
    async with running(rig.worker()):
        await until(lambda: rig.moderated_ids() == ["e0"])
    null, large = rig.dead_letters()
    assert (null.key, null.value, large.key, large.value) == (None, b"", None, b"")
    assert facts_of(null.headers)["value-null"] == "1"
    assert facts_of(large.headers)["value-omitted-bytes"] == "20000000"


async def test_a_result_that_its_topic_does_not_take_is_a_dead_letter_and_the_others_are_published() -> None:
    rig = build_rig(settings=SETTINGS.model_copy(update={"action_topics": {Action.ALLOW: "desk"}}))
    rig.broker.set_limit("desk", 5_000)
    rig.send("e0")
    rig.send("big", response="x" * 6_000)
    rig.send("e1")
    async with running(rig.worker()):
        await until(lambda: rig.moderated_ids() == ["e0", "e1"])
    (letter,) = rig.dead_letters()
    facts = facts_of(letter.headers)
    assert (facts["stage"], facts["error"], facts["original-offset"]) == ("publish", "RecordRefused", "1")
    assert letter.value == rig.broker.read("in")[1].value
    assert len(rig.broker.read("desk")) == 2
    assert rig.metrics.total("weir_records_published_total") == 3
    assert rig.metrics.total("weir_failures_total") == 1


async def test_a_dead_letter_that_its_topic_does_not_take_goes_without_its_value() -> None:
    rig = build_rig()
    rig.broker.set_limit("dead", LEAST_RECORD_BYTES)
    rig.send_bytes(b"x" * 20_000)
    rig.send("e0")
    async with running(rig.worker()):
        await until(lambda: rig.moderated_ids() == ["e0"])
    (letter,) = rig.dead_letters()
    facts = facts_of(letter.headers)
    assert (facts["stage"], facts["error"], facts["value-omitted-bytes"]) == ("decode", "InvalidEvent", "20000")


async def test_a_topic_that_takes_no_dead_letter_however_short_stops_the_worker_with_a_reason() -> None:
    rig = build_rig()
    rig.broker.set_limit("dead", 10)
    rig.send_bytes(b"nonsense")
    with pytest.raises(ConfigurationError, match="dead does not take a dead letter of"):
        await rig.worker().run()
    assert rig.num_committed() == 0


async def test_a_model_that_is_away_is_waited_for_and_nothing_is_lost() -> None:
    rig = build_rig()
    rig.moderator.failures = 5
    rig.send("e0", "e1")
    async with running(rig.worker()):
        await until(lambda: len(rig.broker.read("out")) == 2)
    assert rig.moderated_ids() == ["e0", "e1"]
    assert rig.metrics.total("weir_batch_retries_total") == 5
    assert rig.dead_letters() == []


async def test_a_rewriting_that_fails_is_tried_again_by_itself() -> None:
    rig = build_rig()
    rig.moderator.rewriting_failures = 3
    rig.send("e0", response="harm=0.9")
    rig.send("e1")
    async with running(rig.worker()):
        await until(lambda: len(rig.broker.read("out")) == 2)
    assert [verdict.action for verdict in rig.moderated()] == [Action.REWRITE, Action.ALLOW]
    assert sorted(rig.moderator.called) == ["e0", "e1"]
    assert rig.metrics.total("weir_batch_retries_total") == 3


async def test_a_rewriting_holds_up_only_what_is_behind_it_in_its_partition() -> None:
    rig = build_rig(partitions=2, settings=SETTINGS.model_copy(update={"concurrent_batches": 1}))
    gate = rig.moderator.rewriting = asyncio.Event()
    rig.send("harmful", conversation_id="c0", response="harm=0.9")
    sent = {"c0": ["harmful"]}
    for number in range(12):
        rig.send(f"e{number}", conversation_id=f"c{number % 6}")
        sent.setdefault(f"c{number % 6}", []).append(f"e{number}")
    async with running(rig.worker()):
        await until(lambda: len(rig.moderator.called) == 13 and len(rig.moderated_ids()) >= 2)
        assert "harmful" not in rig.moderated_ids()
        gate.set()
        await until(lambda: len(rig.moderated_ids()) == 13)
    came: dict[str, list[str]] = {}
    for verdict in rig.moderated():
        came.setdefault(verdict.conversation_id, []).append(verdict.event_id)
    assert came == sent


async def test_a_call_that_a_client_cancels_by_itself_is_tried_again() -> None:
    rig = build_rig()
    rig.moderator.cancellations = 2
    rig.send("e0")
    async with running(rig.worker()):
        await until(lambda: rig.moderated_ids() == ["e0"])
    assert rig.metrics.total("weir_batch_retries_total") == 2


async def test_a_transaction_holds_no_more_bytes_than_the_bound() -> None:
    settings = SETTINGS.model_copy(update={"publish_max_bytes": 3_000, "publish_interval_s": 0.05})
    rig = build_rig(settings=settings)
    rig.send(*[f"e{number}" for number in range(20)], response="x" * 1_000)
    async with running(rig.worker()):
        await until(lambda: len(rig.moderated_ids()) == 20)
    assert rig.metrics.total("weir_commits_total") >= 10


async def test_a_transaction_without_an_answer_is_tried_again_as_it_was_though_more_is_finished() -> None:
    rig = build_rig(settings=SETTINGS.model_copy(update={"retry_initial_s": 0.2, "retry_max_s": 0.2}))
    gate = rig.moderator.held["e4"] = asyncio.Event()
    rig.broker.fail_publishes(PublishFault(after_effect=True))
    rig.send(*[f"e{number}" for number in range(8)])
    async with running(rig.worker()):
        await until(lambda: rig.metrics.total("weir_batch_retries_total") == 1)
        gate.set()
        await until(lambda: rig.num_committed() == 8)
    assert rig.moderated_ids() == [f"e{number}" for number in range(8)]
    assert rig.moderator.called.count("e0") == rig.moderator.called.count("e4") == 1


async def test_a_model_that_stays_away_stops_the_worker_and_commits_nothing() -> None:
    rig = build_rig(settings=SETTINGS.model_copy(update={"retry_give_up_s": 0.05}))
    rig.moderator.failures = 1_000_000
    rig.send("e0")
    with pytest.raises(ModelUnavailableError):
        await rig.worker().run()
    assert rig.broker.committed("g").get(IN_0, 0) == 0
    assert rig.broker.read("out") == []


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("kind", ["transient", "fenced"])
async def test_a_failed_publish_loses_and_doubles_nothing(kind: str, after_effect: bool) -> None:
    rig = build_rig()
    rig.broker.fail_publishes(PublishFault(kind=kind, after_effect=after_effect), times=2)  # type: ignore[arg-type]
    ids = [f"e{number}" for number in range(30)]
    rig.send(*ids)
    async with running(rig.worker()):
        await until(lambda: rig.broker.committed("g").get(IN_0, 0) == 30)
    assert rig.moderated_ids() == ids


async def test_a_broker_that_was_down_is_found_again() -> None:
    rig = build_rig()
    worker = rig.worker()
    async with running(worker):
        rig.broker.go_down()
        await until(lambda: rig.metrics.total("weir_batch_retries_total") >= 3)
        rig.broker.come_up()
        rig.send("e0")
        await until(lambda: rig.moderated_ids() == ["e0"])


async def test_a_broker_that_stays_down_stops_the_worker() -> None:
    rig = build_rig(settings=SETTINGS.model_copy(update={"retry_give_up_s": 0.05}))
    worker = rig.worker()
    rig.broker.go_down()
    with pytest.raises(BrokerUnavailableError):
        await worker.run()


async def test_stop_publishes_what_is_being_moderated_and_leaves_the_rest_uncommitted() -> None:
    settings = SETTINGS.model_copy(update={"concurrent_batches": 1})
    rig = build_rig(settings=settings)
    gate = rig.moderator.held["e0"] = asyncio.Event()
    rig.send(*[f"e{number}" for number in range(12)])
    worker = rig.worker()
    task = asyncio.create_task(worker.run())
    await until(lambda: "e0" in rig.moderator.called and worker.status().records_in_flight == 12)
    worker.stop()
    await until(lambda: worker.status().records_in_flight == 4)
    gate.set()
    await asyncio.wait_for(task, 30)
    assert rig.moderated_ids() == ["e0", "e1", "e2", "e3"]
    assert rig.broker.committed("g")[IN_0] == 4
    assert rig.metrics.total("weir_records_abandoned_total") == 8
    async with running(rig.worker()):
        await until(lambda: len(rig.broker.read("out")) == 12)
    assert rig.moderated_ids() == [f"e{number}" for number in range(12)]


async def test_work_that_takes_longer_than_the_drain_timeout_is_abandoned_and_read_again() -> None:
    rig = build_rig(settings=SETTINGS.model_copy(update={"drain_timeout_s": 0.05}))
    rig.moderator.held["e0"] = asyncio.Event()
    rig.send("e0")
    worker = rig.worker()
    task = asyncio.create_task(worker.run())
    await until(lambda: "e0" in rig.moderator.called)
    worker.stop()
    await asyncio.wait_for(task, 30)
    assert rig.broker.read("out") == []
    assert rig.metrics.total("weir_records_abandoned_total") == 1
    rig.moderator.held.clear()
    async with running(rig.worker()):
        await until(lambda: rig.moderated_ids() == ["e0"])


async def test_a_second_consumer_takes_partitions_over_without_loss_or_doubles() -> None:
    rig = build_rig(partitions=4)
    ids = [f"e{number}" for number in range(200)]
    for number, event_id in enumerate(ids):
        rig.send(event_id, conversation_id=f"c{number % 16}")
    async with running(rig.worker(member="0")):
        await until(lambda: len(rig.broker.read("out")) >= 20)
        async with running(rig.worker(member="1")):
            await until(lambda: len(rig.broker.read("out")) >= 120)
        await until(lambda: len(rig.broker.read("out")) >= 200)
    assert sorted(rig.moderated_ids()) == sorted(ids)
    assert sum(rig.broker.committed("g").values()) == 200


async def test_records_of_a_lost_partition_are_not_published_by_the_loser() -> None:
    rig = build_rig()
    gate = rig.moderator.held["e0"] = asyncio.Event()
    rig.send("e0", "e1")
    async with running(rig.worker()):
        await until(lambda: "e0" in rig.moderator.called)
        rig.broker.throw_out("g", "0")
        gate.set()
        await until(lambda: rig.broker.committed("g").get(IN_0, 0) == 2)
    assert rig.moderated_ids() == ["e0", "e1"]
    assert rig.metrics.total("weir_records_abandoned_total") == 2


async def test_leaving_partitions_are_let_go_when_what_was_started_is_published() -> None:
    rig = build_rig()
    gate = rig.moderator.held["e0"] = asyncio.Event()
    rig.send("e0")
    async with running(rig.worker()):
        await until(lambda: "e0" in rig.moderator.called)
        rig.broker.withhold("g", [IN_0])
        await asyncio.sleep(0.05)
        gate.set()
        await until(lambda: rig.broker.committed("g").get(IN_0, 0) == 1)
        rig.broker.give_back("g", [IN_0])
        rig.send("e1")
        await until(lambda: rig.moderated_ids() == ["e0", "e1"])


async def test_no_more_is_read_than_the_bound_allows_while_polling_goes_on() -> None:
    settings = SETTINGS.model_copy(update={"in_flight_max_records": 8})
    rig = build_rig(settings=settings)
    gate = rig.moderator.held["e0"] = asyncio.Event()
    rig.send(*[f"e{number}" for number in range(40)])
    worker = rig.worker()
    async with running(worker):
        await until(lambda: worker.status().records_in_flight == 8)
        await asyncio.sleep(0.1)
        assert worker.status().records_read == 8
        assert worker.status().seconds_since_poll < 5.0
        gate.set()
        await until(lambda: len(rig.broker.read("out")) == 40)


async def test_no_more_bytes_are_read_than_the_bound_and_one_batch() -> None:
    settings = SETTINGS.model_copy(update={"in_flight_max_bytes": 1, "in_flight_max_records": 4})
    rig = build_rig(settings=settings)
    gate = rig.moderator.held["e0"] = asyncio.Event()
    rig.send(*[f"e{number}" for number in range(12)])
    worker = rig.worker()
    async with running(worker):
        await until(lambda: worker.status().records_in_flight == 4)
        await asyncio.sleep(0.05)
        assert worker.status().records_read == 4
        gate.set()
        await until(lambda: len(rig.broker.read("out")) == 12)


async def test_a_flood_of_dead_letters_stops_the_worker() -> None:
    dead_letters = DeadLetterSettings(topic="dead", runaway_window=20, runaway_share=0.5)
    rig = build_rig(settings=SETTINGS.model_copy(update={"dead_letters": dead_letters}))
    rig.send_bytes(*[b"nonsense"] * 100)
    with pytest.raises(RunawayDeadLettersError, match="runaway_share"):
        await asyncio.wait_for(rig.worker().run(), 30)
    assert len(rig.dead_letters()) < 100
    assert rig.broker.committed("g").get(IN_0, 0) == len(rig.dead_letters())


async def test_a_few_dead_letters_do_not_stop_the_worker() -> None:
    dead_letters = DeadLetterSettings(topic="dead", runaway_window=20, runaway_share=0.5)
    rig = build_rig(settings=SETTINGS.model_copy(update={"dead_letters": dead_letters}))
    for number in range(50):
        rig.send(f"e{number}")
        rig.send_bytes(*([b"nonsense"] if number % 3 == 0 else []))
    async with running(rig.worker()):
        await until(lambda: len(rig.moderated_ids()) == 50)


async def test_a_flood_that_comes_over_several_publishes_stops_the_worker() -> None:
    dead_letters = DeadLetterSettings(topic="dead", runaway_window=20, runaway_share=0.5)
    settings = SETTINGS.model_copy(update={"dead_letters": dead_letters, "publish_max_records": 4})
    rig = build_rig(settings=settings)
    task = asyncio.create_task(rig.worker().run())
    for number in range(20):
        rig.send_bytes(b"nonsense")
        await until(lambda number=number: task.done() or len(rig.dead_letters()) > number)  # type: ignore[misc]  # bound
        if task.done():
            break
    with pytest.raises(RunawayDeadLettersError):
        await asyncio.wait_for(task, 30)
    assert len(rig.dead_letters()) == 19


async def test_a_member_that_is_fenced_for_good_ends_instead_of_moderating_the_same_records_for_ever() -> None:
    rig = build_rig()
    rig.broker.fail_publishes(PublishFault(kind="fenced"), times=1_000)
    rig.send("e0")
    with pytest.raises(FencedError):
        await asyncio.wait_for(rig.worker().run(), 60)
    assert rig.moderator.called.count("e0") < 10
    assert rig.broker.committed("g").get(IN_0, 0) == 0


async def test_the_broker_is_asked_again_after_a_pause() -> None:
    rig = build_rig(settings=SETTINGS.model_copy(update={"retry_initial_s": 0.2, "retry_max_s": 0.2}))
    worker = rig.worker()
    rig.broker.go_down()
    async with running(worker):
        await asyncio.sleep(0.5)
        # Without a pause there would be thousands.
        assert 1 <= rig.metrics.total("weir_batch_retries_total") <= 10
        rig.broker.come_up()


async def test_the_lag_of_a_worker_that_closes_is_not_known() -> None:
    rig = build_rig()
    connection = rig.connect()
    closing, go_on, close = threading.Event(), threading.Event(), connection.close

    def close_slowly(*, timeout_s: float) -> None:
        closing.set()
        go_on.wait(30)
        close(timeout_s=timeout_s)

    connection.close = close_slowly  # type: ignore[method-assign]  # a slow one
    worker = rig.worker_over(connection)
    task = asyncio.create_task(worker.run())
    await until(lambda: worker.status().records_read == 0)
    assert await worker.lag() == {IN_0: 0}
    worker.stop()
    await asyncio.to_thread(closing.wait, 30)
    with pytest.raises(BrokerUnavailableError, match="given up"):
        await worker.lag()
    go_on.set()
    await task
    with pytest.raises(BrokerUnavailableError, match="given up"):
        await worker.lag()
