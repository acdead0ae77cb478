"""A moderator in shadow: the same decisions, nothing changed; the texts of images judged where that is asked for."""

from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.conversation import Exchange, SeenImage
from protector_models.moderation.fakes import FakeHarmDetector, FakeImageReader, FakeImageSource
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy.policy import TenantOverrides
from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import Action, Verdict
from tests.builders import event, exchange, policy, rule
from tests.protector_models.moderation.rig import build_rig, verdicts


async def one_verdict(moderator: Moderator, response: str, *, tenant: str = "default") -> Verdict:
    [verdict] = verdicts(await moderator.moderate([event(response, tenant=tenant)]))
    return verdict


async def test_in_shadow_a_harmful_response_is_delivered_and_the_verdict_says_what_would_have_been_done() -> None:
    rig = build_rig()
    verdict = await one_verdict(rig.moderator.in_shadow(), "harm=0.9 category=hate")
    assert (verdict.action, verdict.shadow_action) == (Action.ALLOW, Action.REWRITE)
    assert verdict.response == "harm=0.9 category=hate"
    assert verdict.evaluation_status.rewrite is StageStatus.SKIPPED


async def test_in_shadow_a_tenants_own_rules_hold_and_the_policy_has_its_own_name() -> None:
    rules = policy(tenants={"acme": TenantOverrides(rules=(rule(0.2, Action.BLOCK),), shadow=False)})
    rig = build_rig(policy=rules)
    verdict = await one_verdict(rig.moderator.in_shadow(), "harm=0.3", tenant="acme")
    assert (verdict.action, verdict.shadow_action) == (Action.ALLOW, Action.BLOCK)
    assert verdict.policy_version == rules.revision


async def test_the_moderator_itself_stays_as_it_is() -> None:
    rig = build_rig(policy=policy(rules=[rule(0.5, Action.BLOCK)]))
    rig.moderator.in_shadow(judges_image_texts=True)
    verdict = await one_verdict(rig.moderator, "harm=0.9")
    assert (verdict.action, verdict.shadow_action, verdict.response) == (Action.BLOCK, None, None)


async def test_what_stands_in_an_image_is_judged_only_where_that_is_asked_for() -> None:
    detector = FakeHarmDetector()
    rig = build_rig(
        detector=detector,
        image_source=FakeImageSource({"data:1": b"harm=0.8", "data:2": b""}),
        image_reader=FakeImageReader(),
    )
    shown = event("Look!", images=["data:1", "data:2", "data:3"])
    [plain] = verdicts(await rig.moderator.in_shadow().moderate([shown]))
    [judged] = verdicts(await rig.moderator.in_shadow(judges_image_texts=True).moderate([shown]))
    assert plain.assessment is not None
    assert judged.assessment is not None
    assert (plain.assessment.harmfulness, judged.assessment.harmfulness) == (0.0, 0.8)
    # An image that nobody could read counts as unread all the same.
    assert (judged.assessment.coverage.images_evaluated, judged.assessment.coverage.images_total) == (2, 3)


images = st.lists(st.builds(SeenImage, text=st.text(max_size=5)) | st.just(SeenImage(unread_reason="FetchFailed")))


@given(response=st.text(max_size=5), prompt=st.text(max_size=5), seen=images)
def test_no_text_is_lost_and_none_is_said_twice(response: str, prompt: str, seen: list[SeenImage]) -> None:
    before = exchange(response, prompt=prompt, images=seen)
    after: Exchange = before.with_image_texts_said()
    texts = [image.text for image in seen if image.text]
    assert after.response == "\n".join(text for text in (response, *texts) if text) or not texts
    assert after.question() == prompt
    assert [image.unread_reason for image in after.images] == [image.unread_reason for image in seen]
    assert after.with_image_texts_said() == after
