"""A detector as a second opinion: what it finds, and what it cannot tell."""

import asyncio
from collections.abc import Sequence

import pytest

from protector_models.detectors.second_opinion import DetectorOpinion
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import POISON, FakeHarmDetector, RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from services.configuration import ModerationSettings
from services.moderators import in_process_moderator
from services.policies_in_force import load_policy_in_force
from tests.builders import event, exchange


class _Loaded(FakeHarmDetector):
    threshold = 0.6
    categories: frozenset[str] = frozenset()

    def warm_up(self) -> None:
        pass

    async def check_health(self, *, timeout_s: float) -> None:
        pass

    async def close(self) -> None:
        pass


class _Away(_Loaded):
    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        raise ModelUnavailableError("away")


class _Hanging(_Loaded):
    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


async def test_where_it_hangs_nobody_waits_for_it() -> None:
    assert await DetectorOpinion(_Hanging(), timeout_s=0.01).find_objections([exchange()]) == [None]


async def test_it_objects_from_its_own_threshold_on_and_cannot_tell_of_what_it_failed_on() -> None:
    opinion = DetectorOpinion(_Loaded(), timeout_s=60.0)
    asked = [exchange("harm=0.59"), exchange("harm=0.6"), exchange(POISON)]
    assert await opinion.find_objections(asked) == [False, True, None]
    assert opinion.revision == "fake-detector@1"


async def test_of_what_it_read_a_part_of_it_can_tell_only_that_it_is_harmful() -> None:
    opinion = DetectorOpinion(_Loaded(max_characters=5), timeout_s=60.0)
    assert await opinion.find_objections([exchange("harm=0.1 and more"), exchange("harm=0.9")]) == [None, True]


async def test_where_it_is_away_it_can_tell_of_nothing() -> None:
    assert await DetectorOpinion(_Away(), timeout_s=60.0).find_objections([exchange(), exchange("Other.")]) == [
        None,
        None,
    ]


@pytest.mark.shipped
@pytest.mark.parametrize(("configured", "is_asked"), [({}, True), ({"second_opinion": None}, False)])
async def test_the_one_that_is_configured_is_asked(configured: dict[str, None], *, is_asked: bool) -> None:
    settings = ModerationSettings(**configured)
    answer = "Because you are a crap programmer. The loop reads the file again in each round; read it once before."
    cache = MemoryVerdictCache(max_entries=100)
    async with in_process_moderator(settings, load_policy_in_force(settings), RecordedMetrics(), cache) as moderator:
        (verdict,) = await moderator.moderate([event(answer, prompt="Why is my code slow?")])
    assert "crap" not in (getattr(verdict, "response", None) or "")
    assert ("second_opinion" in getattr(verdict, "model_revisions", {})) is is_asked
