"""Events that were published before are not published again, as far as the settings let that be remembered."""

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.streaming.broker import TopicPartition
from pipelines.streaming.memory.broker import PublishFault
from pipelines.streaming.published_events import EventKey, PublishedEvents
from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.fakes import POISON
from tests.pipelines.streaming.rigs import SETTINGS, build_rig, running, until

IN_0, IN_1 = TopicPartition("in", 0), TopicPartition("in", 1)
REMEMBERING = SETTINGS.model_copy(update={"deduplicate_event_ids": 100})


def key(event_id: str, *, conversation_id: str = "c", tenant: str = "default") -> EventKey:
    return EventKey(tenant, conversation_id, event_id)


def test_nothing_is_remembered_by_default() -> None:
    assert StreamSettings().deduplicate_event_ids == 0
    events = PublishedEvents(per_partition=0)
    events.remember(IN_0, key("e"))
    assert not events.knows(IN_0, key("e"))
    assert events.duplicates([(IN_0, key("e")), (IN_0, key("e"))]) == [False, False]


def test_an_event_is_known_in_its_partition_for_its_tenant_and_conversation_only() -> None:
    events = PublishedEvents(per_partition=9)
    events.remember(IN_0, key("e"))
    assert events.knows(IN_0, key("e"))
    assert not events.knows(IN_1, key("e"))
    assert not events.knows(IN_0, key("e", conversation_id="other"))
    assert not events.knows(IN_0, key("e", tenant="other"))
    events.forget([IN_0])
    assert not events.knows(IN_0, key("e"))


@given(st.lists(st.integers(0, 8), max_size=60), st.integers(1, 5))
def test_the_last_events_of_a_partition_are_remembered_and_no_others(numbers: list[int], capacity: int) -> None:
    events = PublishedEvents(per_partition=capacity)
    for number in numbers:
        events.remember(IN_0, key(f"e{number}"))
    last = list(dict.fromkeys(reversed(numbers)))[:capacity]
    assert [number for number in range(9) if events.knows(IN_0, key(f"e{number}"))] == sorted(last)


@settings(max_examples=25)
@given(
    numbers=st.lists(st.integers(0, 7), min_size=1, max_size=40),
    batch_size=st.integers(1, 6),
    fault=st.sampled_from(
        [None, *(PublishFault(kind=kind, after_effect=late) for kind in ("transient", "fenced") for late in (0, 1))]  # type: ignore[arg-type]  # 0 is False
    ),
)
def test_each_event_is_published_in_the_order_of_its_first_coming_and_once_while_the_worker_keeps_its_partition(
    numbers: list[int], batch_size: int, fault: PublishFault | None
) -> None:
    async def law() -> None:
        rig = build_rig(
            settings=REMEMBERING.model_copy(
                update={"batch_max_records": batch_size, "publish_max_records": 2 * batch_size}
            )
        )
        if fault is not None:
            rig.broker.fail_publishes(fault)
        rig.send(*(f"e{number}" for number in numbers))
        async with running(rig.worker()):
            await until(lambda: rig.num_committed() == len(numbers))
        published = rig.moderated_ids()
        assert list(dict.fromkeys(published)) == [f"e{number}" for number in dict.fromkeys(numbers)]
        # Who is thrown out right after a publish took effect has forgotten it when the partition comes back.
        has_forgotten = fault is not None and fault.kind == "fenced" and fault.after_effect
        assert has_forgotten or len(published) == len(set(published))

    asyncio.run(law())


async def test_an_event_that_comes_again_later_is_not_moderated_again_but_committed_and_counted() -> None:
    rig = build_rig(settings=REMEMBERING)
    rig.send("e0", "e1")
    worker = rig.worker()
    async with running(worker):
        await until(lambda: rig.num_committed() == 2)
        rig.send("e1", "e2", "e0")
        await until(lambda: rig.num_committed() == 5)
        await until(lambda: rig.metrics.total("weir_duplicate_events_total") == 2)
    assert Counter(rig.moderator.called) == {"e0": 1, "e1": 1, "e2": 1}
    assert rig.moderated_ids() == ["e0", "e1", "e2"]
    assert rig.metrics.total("weir_records_published_total") == 3


async def test_without_the_setting_what_comes_twice_is_published_twice() -> None:
    rig = build_rig()
    rig.send("e0", "e0")
    async with running(rig.worker()):
        await until(lambda: rig.num_committed() == 2)
    assert rig.moderated_ids() == ["e0", "e0"]


async def test_an_event_that_became_a_dead_letter_is_moderated_when_it_comes_again() -> None:
    rig = build_rig(settings=REMEMBERING)
    rig.send("e0", response=POISON)
    rig.send("e0")
    async with running(rig.worker()):
        await until(lambda: rig.num_committed() == 2)
        rig.send("e0")
        await until(lambda: rig.num_committed() == 3)
    assert len(rig.dead_letters()) == 1
    assert rig.moderated_ids() == ["e0"]


async def test_what_was_published_is_forgotten_when_its_partition_is_lost() -> None:
    rig = build_rig(settings=REMEMBERING)
    rig.send("e0")
    async with running(rig.worker()):
        await until(lambda: rig.num_committed() == 1)
        rig.broker.throw_out("g", "0")
        await until(lambda: bool(rig.broker.owned("g")))
        rig.send("e0")
        await until(lambda: rig.num_committed() == 2)
    assert rig.moderated_ids() == ["e0", "e0"]
