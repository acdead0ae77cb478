"""Models that are away: who waits, who goes on, what is delivered then, and what is counted."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import DependencyError, IncompleteError, ModelUnavailableError
from protector_models.moderation.fakes import DeadVerdictCache, FakeDetoxifier, FakeGenerator, FakeHarmDetector
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.outages import OnOutage
from protector_models.moderation.policy.policy import Policy, TenantOverrides
from protector_models.moderation.stages import Stage, StageStatus
from protector_models.moderation.verdict import Action, Failure, RewriteMethod, Verdict
from tests.builders import SAFE_TEXT, event, policy
from tests.protector_models.moderation.rig import Rig, build_rig, verdicts

OPEN: OnOutage = "open"
CLOSED: OnOutage = "closed"
HARMFUL = "harm=0.9"


def build(on_outage: OnOutage, *, is_known: bool = False, on_failure: str = "dead_letter") -> Rig:
    """Put a Moderator together whose policy says the same for each model; `is_known`: its cache remembers."""
    return build_rig(
        policy=policy(
            on_detector_outage=on_outage,
            on_detoxifier_outage=on_outage,
            on_mllm_outage=on_outage,
            on_failure=on_failure,
        ),
        detoxifier=FakeDetoxifier(),
        generator=FakeGenerator(),
        cache=None if is_known else DeadVerdictCache(),
    )


def counted(rig: Rig, name: str) -> dict[str, int]:
    """Return a counter by dependency."""
    return {
        dict(labels)["dependency"]: number for (metric, labels), number in rig.metrics.counts.items() if metric == name
    }


async def test_without_its_detector_a_closed_policy_delivers_nothing() -> None:
    rig = build(CLOSED)
    rig.detector.unavailable = True
    with pytest.raises(ModelUnavailableError, match="the fake detector"):
        await rig.moderator.moderate([event()])
    assert counted(rig, "weir_failed_closed_total") == {"detector": 1}
    assert rig.metrics.total("weir_failed_open_total") == 0
    assert rig.metrics.total("weir_verdicts_total") == 0


async def test_without_its_detector_an_open_policy_delivers_and_never_says_that_it_judged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = build(OPEN)
    rig.detector.unavailable = True
    (verdict,) = verdicts(await rig.moderator.moderate([event(HARMFUL)]))
    assert (verdict.action, verdict.response) == (Action.ALLOW, HARMFUL)
    assert verdict.assessment is None
    assert verdict.category is None
    assert verdict.evaluation_status.assessment is StageStatus.FAILED
    assert verdict.model_revisions["detector"] == rig.detector.revision
    assert not verdict.cached
    assert counted(rig, "weir_failed_open_total") == {"detector": 1}
    assert rig.metrics.total("weir_failed_closed_total") == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert HARMFUL not in caplog.text


async def test_what_is_known_of_a_response_holds_while_the_detector_is_away() -> None:
    rig = build(OPEN, is_known=True)
    (before,) = verdicts(await rig.moderator.moderate([event(HARMFUL)]))
    rig.detector.unavailable = True
    known, new = verdicts(await rig.moderator.moderate([event(HARMFUL), event("something new")]))
    assert known.response == before.response != HARMFUL
    assert new.assessment is None
    rig.detector.unavailable = False
    (judged,) = verdicts(await rig.moderator.moderate([event("something new")]))
    assert judged.assessment is not None, "an outage is not remembered"


@pytest.mark.parametrize("on_failure", ["dead_letter", "block", "review", "allow"])
async def test_an_outage_is_no_failure_on_one_response(on_failure: str) -> None:
    rig = build(OPEN, on_failure=on_failure)
    rig.detector.unavailable = True
    (verdict,) = verdicts(await rig.moderator.moderate([event()]))
    assert verdict.action is Action.ALLOW


async def test_what_nothing_reads_is_held_back_without_the_detector_too() -> None:
    rig = build(OPEN)
    rig.detector.unavailable = True
    (verdict,) = verdicts(await rig.moderator.moderate([event(images=["https://example.org/unread.png"])]))
    assert (verdict.action, verdict.response) == (Action.REVIEW, None)


async def test_a_response_that_was_found_harmful_waits_for_the_detector_to_read_its_rewrite() -> None:
    class Dying(FakeHarmDetector):
        async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
            outcomes = await super().assess(exchanges)
            self.unavailable = True
            return outcomes

    rig = build_rig(policy=policy(on_detector_outage=OPEN), detector=Dying(), detoxifier=FakeDetoxifier())
    with pytest.raises(ModelUnavailableError):
        await rig.moderator.moderate([event(HARMFUL)])
    assert counted(rig, "weir_failed_closed_total") == {"detector": 1}


async def test_without_its_detoxifier_a_closed_policy_delivers_nothing_harmful() -> None:
    rig = build(CLOSED)
    assert rig.detoxifier is not None
    rig.detoxifier.unavailable = True
    with pytest.raises(ModelUnavailableError, match="the fake detoxifier"):
        await rig.moderator.moderate([event(HARMFUL)])
    assert counted(rig, "weir_failed_closed_total") == {"detoxifier": 1}
    (verdict,) = verdicts(await rig.moderator.moderate([event("harmless")]))
    assert verdict.response == "harmless"


async def test_without_its_detoxifier_an_open_policy_has_its_own_text_judged_and_delivered() -> None:
    rig = build(OPEN)
    assert rig.detoxifier is not None
    rig.detoxifier.unavailable = True
    (verdict,) = verdicts(await rig.moderator.moderate([event(HARMFUL)]))
    assert (verdict.action, verdict.response) == (Action.REWRITE, SAFE_TEXT)
    assert verdict.rewrite_method is RewriteMethod.COMPLETE
    assert verdict.rewrite_refused_reason == "ModelUnavailable"
    assert verdict.rewrite_assessment is not None
    assert counted(rig, "weir_failed_open_total") == {"detoxifier": 1}


async def test_a_detoxifier_that_is_away_is_asked_once() -> None:
    class Counting(FakeDetoxifier):
        asked = 0

        async def rewrite(self, requests):  # type: ignore[no-untyped-def]
            self.asked += 1
            return await super().rewrite(requests)

    detoxifier = Counting()
    detoxifier.unavailable = True
    rules = policy(on_detoxifier_outage=OPEN, max_rewrite_attempts=5)
    rig = build_rig(policy=rules, detoxifier=detoxifier)
    await rig.moderator.moderate([event(HARMFUL)])
    assert detoxifier.asked == 1


async def test_without_its_mllm_a_closed_policy_waits_and_an_open_one_lets_the_event_fail() -> None:
    for on_outage in (CLOSED, OPEN):
        generator = FakeGenerator()
        generator.unavailable = True
        rig = build_rig(policy=policy(on_mllm_outage=on_outage), generator=generator)
        moderated = rig.moderator.moderate([event(None), event("harmless", event_id="event-2")])
        if on_outage == CLOSED:
            with pytest.raises(ModelUnavailableError, match="the fake MLLM"):
                await moderated
            assert counted(rig, "weir_failed_closed_total") == {"mllm": 2}
            continue
        failure, verdict = await moderated
        assert isinstance(failure, Failure)
        assert (failure.stage, failure.error) == (Stage.GENERATE, "ModelUnavailable")
        assert isinstance(verdict, Verdict)
        assert verdict.response == "harmless"
        assert counted(rig, "weir_failed_open_total") == {"mllm": 1}


async def test_answers_that_an_mllm_gave_before_it_went_away_are_judged() -> None:
    class Breaking(FakeGenerator):
        async def generate(self, events):  # type: ignore[no-untyped-def]
            answers = await super().generate(events)
            raise IncompleteError(ModelUnavailableError("gone"), [answers[0], None])

    rig = build_rig(policy=policy(on_mllm_outage=OPEN), generator=Breaking())
    first, second = await rig.moderator.moderate([event(None, prompt="hello"), event(None, event_id="event-2")])
    assert isinstance(first, Verdict)
    assert first.response == "hello"
    assert isinstance(second, Failure)


async def test_in_one_batch_nobody_who_waits_is_hurried_by_one_who_does_not() -> None:
    tenants = {"hasty": TenantOverrides(on_detector_outage=OPEN, on_mllm_outage=OPEN)}
    rig = build_rig(policy=policy(tenants=tenants), cache=DeadVerdictCache())
    rig.detector.unavailable = True
    events = [event("one", tenant="hasty"), event("two", event_id="event-2")]
    with pytest.raises(ModelUnavailableError):
        await rig.moderator.moderate(events)
    (verdict,) = verdicts(await rig.moderator.moderate(events[:1]))
    assert verdict.response == "one"


async def test_who_waits_is_not_given_the_outage_of_one_who_does_not() -> None:
    """Both ask for the same at the same time; the one that came second joins the other's call."""

    class Waiting(FakeHarmDetector):
        go_on = asyncio.Event()

        async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
            await self.go_on.wait()
            return await super().assess(exchanges)

    detector = Waiting()
    detector.unavailable = True
    tenants = {"hasty": TenantOverrides(on_detector_outage=OPEN)}
    rig = build_rig(policy=policy(tenants=tenants), detector=detector)
    hasty = asyncio.create_task(rig.moderator.moderate([event(tenant="hasty")]))
    patient = asyncio.create_task(rig.moderator.moderate([event()]))
    await asyncio.sleep(0)
    detector.go_on.set()
    (verdict,) = verdicts(await hasty)
    assert verdict.assessment is None
    with pytest.raises(ModelUnavailableError):
        await patient


class Flaky(FakeHarmDetector):
    """Is away when its script says so."""

    def __init__(self, script: Sequence[bool]) -> None:
        super().__init__()
        self._script = iter(script)

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        self.unavailable = next(self._script, False)
        return await super().assess(exchanges)


@given(
    responses=st.lists(st.sampled_from(["fine", "harm=0.9", "harm=0.3"]), min_size=1, max_size=4),
    tenants=st.lists(st.sampled_from(["hasty", "default"]), min_size=4, max_size=4),
    script=st.lists(st.booleans(), max_size=4),
    detoxifier_is_away=st.booleans(),
)
async def test_whoever_is_away_nobody_gets_what_was_found_harmful_and_who_waits_gets_what_was_judged(
    responses: list[str], tenants: list[str], script: list[bool], detoxifier_is_away: bool
) -> None:
    every = TenantOverrides(on_detector_outage=OPEN, on_detoxifier_outage=OPEN)
    detoxifier, detector = FakeDetoxifier(), Flaky(script)
    detoxifier.unavailable = detoxifier_is_away
    rig = build_rig(policy=policy(tenants={"hasty": every}), detector=detector, detoxifier=detoxifier)
    events: list[ConversationEvent] = [
        event(response, tenant=tenant, event_id=f"event-{position}")
        for position, (response, tenant) in enumerate(zip(responses, tenants, strict=False))
    ]
    try:
        outcomes = verdicts(await rig.moderator.moderate(events))
    except DependencyError:
        assert rig.metrics.total("weir_failed_closed_total") == len(events) or any(script) or detoxifier_is_away
        assert rig.metrics.total("weir_verdicts_total") == 0
        assert rig.metrics.total("weir_failed_open_total") == 0
        return
    for given_event, verdict in zip(events, outcomes, strict=True):
        if verdict.assessment is None:
            assert given_event.tenant == "hasty"
            assert verdict.evaluation_status.assessment is StageStatus.FAILED
        elif verdict.assessment.harmfulness >= 0.5:
            assert verdict.response != given_event.response
            assert verdict.rewrite_assessment is not None
    num_unjudged = sum(verdict.assessment is None for verdict in outcomes)
    assert counted(rig, "weir_failed_open_total").get("detector", 0) == num_unjudged


def test_a_tenant_says_for_each_model_what_it_has_different() -> None:
    rules: Policy = policy(on_mllm_outage=OPEN, tenants={"hasty": TenantOverrides(on_detector_outage=OPEN)})
    hasty, others = rules.for_tenant("hasty"), rules.for_tenant("default")
    assert (hasty.on_detector_outage, hasty.on_detoxifier_outage, hasty.on_mllm_outage) == (OPEN, CLOSED, OPEN)
    assert (others.on_detector_outage, others.on_detoxifier_outage, others.on_mllm_outage) == (CLOSED, CLOSED, OPEN)
    assert rules.goes_on_without_models()
    assert policy(tenants={"hasty": TenantOverrides(on_detector_outage=OPEN)}).goes_on_without_models()
    assert not policy().goes_on_without_models()
