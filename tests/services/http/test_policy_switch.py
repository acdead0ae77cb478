"""Another policy while calls are being answered: each call has one policy, the one that it began with."""

import asyncio
from collections.abc import Sequence

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fakes import FakeHarmDetector
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from services.http.moderators import Moderators
from tests.builders import policy, rule
from tests.services.http.front import Front

OLD = policy(version="old")
NEW = policy(version="new", rules=[rule(0.2)])


class HeldDetector(FakeHarmDetector):
    """A detector that waits before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        self.is_asked.set()
        await self.may_answer.wait()
        return await super().assess(exchanges)


def switch(front: Front) -> None:
    front.readiness.moderators = Moderators.of(front.moderator.under(NEW), front.cache)


async def test_a_call_that_is_being_answered_keeps_its_policy_and_the_next_has_the_new_one() -> None:
    front = Front(policy=OLD, detector=(detector := HeldDetector()))
    answering = asyncio.create_task(front.moderate("harm=0.3"))
    await detector.is_asked.wait()
    switch(front)
    detector.may_answer.set()
    (before,) = (await answering)["results"]
    (after,) = (await front.moderate("harm=0.3"))["results"]
    assert (before["weir"]["policy_version"], before["flagged"]) == (OLD.revision, False)
    assert (after["weir"]["policy_version"], after["flagged"]) == (NEW.revision, True)
    assert after["weir"]["cached"] is True
    assert after["categories"].keys() == before["categories"].keys()


async def test_the_rules_in_force_are_those_of_the_policy_that_decides() -> None:
    front = Front(policy=OLD)
    assert (await front.get("/v1/policies")).json()["data"][0]["policy_version"] == OLD.revision
    switch(front)
    assert (await front.get("/v1/policies")).json()["data"][0]["policy_version"] == NEW.revision


async def test_an_answer_that_is_given_again_names_the_policy_that_decided_it() -> None:
    front = Front(policy=OLD)
    event = {
        "schema_version": 1,
        "event_id": "e-1",
        "conversation_id": "c-1",
        "occurred_at": "2026-11-21T12:00:00Z",
        "messages": [],
        "response": "harm=0.3",
    }
    url, headers = "/v1/conversations:moderate", {"idempotency-key": "k"}
    first = (await front.post(url, event, headers=headers)).json()
    switch(front)
    again = await front.post(url, event, headers=headers)
    assert again.json() == first
    assert (again.headers["idempotent-replayed"], first["policy_version"]) == ("true", OLD.revision)
    assert (await front.post(url, event)).json()["policy_version"] == NEW.revision
