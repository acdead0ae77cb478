"""Which topics results go to, and what must hold for each of them."""

import asyncio

import pytest
from pydantic import ValidationError

from pipelines.streaming.memory.broker import PublishFault
from pipelines.streaming.outlets import Outlets
from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.verdict import Action, ModeratedConversation
from tests.pipelines.streaming.rigs import SETTINGS, build_rig, running, until

WITH_COPIES = SETTINGS.model_copy(update={"action_topics": {Action.REWRITE: "rewritten", Action.REVIEW: "desk"}})
HARMFUL = "harm=0.9 category=hate words"


def ids(records: object) -> list[str]:
    return [ModeratedConversation.model_validate_json(record.value).event_id for record in records]  # type: ignore[attr-defined]  # records of a rig


def test_every_topic_that_is_written_is_named_once() -> None:
    stream = StreamSettings(action_topics={Action.REVIEW: "desk", Action.BLOCK: "desk"})
    outlets = Outlets.of(stream)
    assert outlets.topics() == ("weir.moderated", "weir.dead-letters", "desk")
    assert outlets.for_action(Action.BLOCK) == ("weir.moderated", "desk")
    assert outlets.for_action(Action.ALLOW) == ("weir.moderated",)


@pytest.mark.parametrize("topic", ["weir.conversations", "weir.moderated", "weir.dead-letters"])
def test_a_topic_of_an_action_that_has_another_use_is_refused(topic: str) -> None:
    with pytest.raises(ValidationError, match="review: expected another topic"):
        StreamSettings(action_topics={Action.REVIEW: topic})


@pytest.mark.parametrize("topics", [{"reviewed": "desk"}, {"review": "no topic"}])
def test_an_unknown_action_or_an_illegal_topic_is_refused(topics: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        StreamSettings.model_validate({"action_topics": topics})


async def test_results_with_an_action_are_published_a_second_time_with_the_same_bytes() -> None:
    rig = build_rig(settings=WITH_COPIES)
    rig.send("e0")
    rig.send("e1", "e2", response=HARMFUL, headers=(("trace", None),))
    async with running(rig.worker()):
        await until(lambda: rig.num_committed() == 3)
    assert rig.moderated_ids() == ["e0", "e1", "e2"]
    copies = rig.broker.read("rewritten")
    assert ids(copies) == ["e1", "e2"]
    kept = {(record.key, record.value, record.headers) for record in rig.broker.read("out")}
    assert {(record.key, record.value, record.headers) for record in copies} < kept
    assert rig.broker.read("desk") == []


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("kind", ["transient", "fenced"])
async def test_a_result_is_in_all_its_topics_or_in_none(kind: str, after_effect: bool) -> None:
    rig = build_rig(settings=WITH_COPIES)
    rig.broker.fail_publishes(PublishFault(kind=kind, after_effect=after_effect), times=3)  # type: ignore[arg-type]  # drawn from its values
    expected = [f"e{number}" for number in range(20)]
    rig.send(*expected, response=HARMFUL)
    async with running(rig.worker()):
        while rig.num_committed() < 20:
            await asyncio.sleep(0.001)
            num_out = len(rig.broker.read("out"))
            assert len(rig.broker.read("rewritten")) >= num_out
    assert rig.moderated_ids() == ids(rig.broker.read("rewritten")) == expected


async def test_a_result_that_is_too_large_is_one_dead_letter_and_in_no_topic_of_its_action() -> None:
    settings = WITH_COPIES.model_copy(update={"record_max_bytes": 5_000, "action_topics": {Action.ALLOW: "desk"}})
    rig = build_rig(settings=settings)
    rig.send("big", response="x" * 6_000)
    rig.send("small")
    async with running(rig.worker()):
        await until(lambda: rig.num_committed() == 2)
    assert rig.moderated_ids() == ids(rig.broker.read("desk")) == ["small"]
    assert len(rig.dead_letters()) == 1
