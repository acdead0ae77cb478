"""Laws of the Moderator under concurrency: whatever the order in which batches get on, each ends as it does alone."""

import asyncio
from collections.abc import Coroutine

from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import DependencyError
from protector_models.moderation.fakes import harmless
from protector_models.moderation.ports import Moderates, RewriteRequest
from protector_models.moderation.verdict import Outcome
from tests.builders import event
from tests.protector_models.moderation.rig import Rig, apart_from_cached, build_rig
from tests.protector_models.moderation.schedule import (
    Schedule,
    ScheduledCache,
    ScheduledDetector,
    ScheduledDetoxifier,
    ScheduledGenerator,
    ScheduledReader,
    ScheduledSource,
)
from tests.protector_models.moderation.test_moderator_laws import CONTENTS, POLICY, Writer, events

schedules = st.lists(st.integers(0, 7), max_size=60)
batches = st.lists(events, max_size=4)
damaged = event(images=["damaged"])


def _build_scheduled(schedule: Schedule, *, write: Writer = harmless, max_entries: int = 1_000) -> Rig:
    """Put a Moderator together in which everything waits for its turn."""
    return build_rig(
        policy=POLICY,
        detector=ScheduledDetector(schedule),
        detoxifier=ScheduledDetoxifier(schedule, write),
        generator=ScheduledGenerator(schedule),
        cache=ScheduledCache(schedule, max_entries=max_entries),
        image_source=ScheduledSource(schedule, CONTENTS),
        image_reader=ScheduledReader(schedule),
        max_images=3,
    )


async def _one_after_the_other(*drawn: list[ConversationEvent], write: Writer = harmless) -> list[list[Outcome]]:
    """Return what batches give to which nothing else happens."""
    schedule = Schedule([])
    rig = _build_scheduled(schedule, write=write)
    return [(await schedule.run(rig.moderator.moderate(batch)))[0] for batch in drawn]


async def _until_decided(moderator: Moderates, batch: list[ConversationEvent]) -> list[Outcome]:
    """Try a batch again where another one that it waited for was given up."""
    while True:
        try:
            return await moderator.moderate(batch)
        except DependencyError:
            continue


async def _give_up(schedule: Schedule, moderation: Coroutine[object, object, list[Outcome]], *, after: int) -> None:
    """Cancel a moderation after so many turns, wherever it then is."""
    task = asyncio.create_task(moderation)
    for _ in range(after):
        await schedule.turn()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _harmful_at_first(request: RewriteRequest) -> str:
    return f"harm={0.2 if request.attempt else 0.7} attempt {request.attempt}"


writers: st.SearchStrategy[Writer] = st.sampled_from((harmless, _harmful_at_first))


@given(batches, batches, schedules, writers, st.sampled_from((2, 1_000)))
async def test_batches_at_once_end_as_they_do_one_after_the_other(
    left: list[ConversationEvent], right: list[ConversationEvent], choices: list[int], write: Writer, max_entries: int
) -> None:
    schedule = Schedule(choices)
    rig = _build_scheduled(schedule, write=write, max_entries=max_entries)
    found = await schedule.run(rig.moderator.moderate(left), rig.moderator.moderate(right))
    alone = await _one_after_the_other(left, right, write=write)
    assert [apart_from_cached(outcomes) for outcomes in found] == [apart_from_cached(outcomes) for outcomes in alone]


@given(schedules)
async def test_batches_that_share_an_image_nobody_can_read_all_end(choices: list[int]) -> None:
    schedule = Schedule(choices)
    rig = _build_scheduled(schedule)
    batch = [damaged, event("harm=0.6", images=["damaged", "sign"])]
    found = await schedule.run(*(rig.moderator.moderate(batch) for _ in range(3)))
    (alone,) = await _one_after_the_other(batch)
    assert [apart_from_cached(outcomes) for outcomes in found] == [apart_from_cached(alone)] * 3


@given(batches, batches, schedules, st.integers(0, 12))
async def test_a_batch_beside_one_that_is_given_up_ends_as_it_does_alone(
    given_up: list[ConversationEvent], other: list[ConversationEvent], choices: list[int], after: int
) -> None:
    schedule = Schedule(choices)
    rig = _build_scheduled(schedule)
    _, found = await schedule.run(
        _give_up(schedule, rig.moderator.moderate(given_up), after=after), _until_decided(rig.moderator, other)
    )
    (alone,) = await _one_after_the_other(other)
    assert found is not None
    assert apart_from_cached(found) == apart_from_cached(alone)
