"""Another policy in the middle of a stream: each micro-batch is decided by one of the two."""

import asyncio
from collections.abc import Sequence

from pipelines.streaming.broker import Record
from pipelines.streaming.processing import RecordProcessor
from pipelines.streaming.published_events import PublishedEvents
from pipelines.streaming.results import Result, Unwritten
from protector_models.moderation.fakes import FakeHarmDetector, RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.verdict import ModeratedConversation
from tests import builders
from tests.pipelines.streaming.records import record
from tests.pipelines.streaming.rigs import SETTINGS, HeldModerator

OLD = builders.policy(version="old", rewrite_methods={"default": ["complete"]})
NEW = builders.policy(version="new", rewrite_methods={"default": ["complete"]})
NOTHING = PublishedEvents(per_partition=0)


def built() -> tuple[RecordProcessor, HeldModerator, HeldModerator]:
    metrics = RecordedMetrics()
    cache = MemoryVerdictCache(max_entries=1_000)
    moderator = Moderator(policy=OLD, detector=FakeHarmDetector(), cache=cache, metrics=metrics)
    old, new = HeldModerator(moderator), HeldModerator(moderator.under(NEW))
    return RecordProcessor(moderator=old, settings=SETTINGS, versions=dict, metrics=metrics), old, new


def records(*event_ids: str, response: str = "fine") -> list[Record]:
    return [
        record(number, value=builders.event(response, event_id=event_id).model_dump_json().encode())
        for number, event_id in enumerate(event_ids)
    ]


def revisions(results: Sequence[Result | Unwritten]) -> set[str]:
    return {
        ModeratedConversation.model_validate_json(outgoing.value or b"").policy_version
        for result in results
        if isinstance(result, Result)
        for outgoing in result.outgoing
    }


async def test_a_batch_that_is_being_decided_keeps_its_policy_and_the_next_has_the_new_one() -> None:
    processor, old, new = built()
    old.held["e1"] = asyncio.Event()
    deciding = asyncio.create_task(processor.decide(records("e0", "e1"), published=NOTHING))
    while "e1" not in old.called:  # noqa: ASYNC110  (state of the moderator, no event of ours)
        await asyncio.sleep(0)
    processor.use(new)
    assert revisions(await processor.decide(records("e2"), published=NOTHING)) == {NEW.revision}
    old.held["e1"].set()
    assert revisions(await deciding) == {OLD.revision}


async def test_a_batch_that_is_tried_again_after_the_switch_is_still_decided_by_its_policy() -> None:
    processor, old, new = built()
    old.failures = 1_000_000
    deciding = asyncio.create_task(processor.decide(records("e0"), published=NOTHING))
    while not old.called:  # noqa: ASYNC110  (state of the moderator, no event of ours)
        await asyncio.sleep(0)
    processor.use(new)
    old.failures = 0
    assert revisions(await deciding) == {OLD.revision}
    assert new.called == []


async def test_what_is_rewritten_after_the_switch_names_the_policy_that_decided() -> None:
    processor, _, new = built()
    decided = await processor.decide(records("e0", response="harm=0.9"), published=NOTHING)
    unwritten = [one for one in decided if isinstance(one, Unwritten)]
    assert len(unwritten) == 1
    processor.use(new)
    assert revisions([*await processor.rewrite(unwritten)]) == {OLD.revision}
