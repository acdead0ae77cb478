"""A shadow policy: it says what it would do, by the same assessments, and changes nothing."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.fakes import POISON, FakeDetoxifier, FakeGenerator, FakeImageReader, FakeImageSource
from protector_models.moderation.policy.image_rules import ImageRule
from protector_models.moderation.policy.policy import TenantOverrides
from protector_models.moderation.verdict import Action, Outcome, Verdict
from protector_models.moderation.wire.codec import encode_moderated
from tests.builders import event, policy, rule
from tests.protector_models.moderation.rig import Rig, apart_from_cached, build_rig

LIVE = policy(version="live", on_failure="review", tenants={"kids": TenantOverrides(shadow=True)})
SHADOW = policy(
    version="shadow",
    rules=[rule(0.3), rule(0.7, Action.BLOCK, category="hate")],
    image_rules=[ImageRule(category="weapons", threshold=0.5, action=Action.REVIEW)],
    on_unread_images="block",
    on_failure="block",
    tenants={"kids": TenantOverrides(rules=(rule(0.1, Action.REVIEW),), on_failure="dead_letter")},
)
RESPONSES = ("fine", "harm=0.2", "harm=0.4", "harm=0.6", "harm=0.9 category=hate", f"{POISON} pill", None)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(RESPONSES),
        st.sampled_from(["default", "kids", "nobody"]),
        st.sampled_from([(), ("weapon",), ("gone",)]),
    ),
    max_size=6,
)


def rig() -> Rig:
    return build_rig(
        policy=LIVE,
        detoxifier=FakeDetoxifier(),
        generator=FakeGenerator(),
        image_source=FakeImageSource({"weapon": b"image=0.9:weapons"}),
        image_reader=FakeImageReader(),
    )


def without_shadow(outcomes: list[Outcome]) -> list[Outcome]:
    return [each.model_copy(update={"shadow_policy": None}) if isinstance(each, Verdict) else each for each in outcomes]


@given(EVENTS)
async def test_a_shadow_policy_changes_nothing_asks_no_model_and_says_what_it_would_decide(
    batch: list[tuple[str | None, str, tuple[str, ...]]],
) -> None:
    events = [
        event(response, event_id=f"e{number}", tenant=tenant, images=images)
        for number, (response, tenant, images) in enumerate(batch)
    ]
    plain, both, other = rig(), rig(), rig()
    outcomes = await both.moderator.under(LIVE, shadow_policy=SHADOW).moderate(events)
    assert apart_from_cached(without_shadow(outcomes)) == apart_from_cached(await plain.moderator.moderate(events))
    assert both.detector.assessed == plain.detector.assessed
    decided = await other.moderator.under(SHADOW).in_shadow().moderate(events)
    counted: Counter[str] = Counter()
    for outcome, alone in zip(outcomes, decided, strict=True):
        if isinstance(outcome, Verdict):
            assert outcome.shadow_policy is not None
            assert outcome.shadow_policy.policy_version == SHADOW.revision
            expected = alone.shadow_action if isinstance(alone, Verdict) else None
            assert outcome.shadow_policy.action == expected
            assert outcome.shadow_policy.category == (alone.category if isinstance(alone, Verdict) else None)
            counted["none" if expected is None else expected.value] += 1
    found = Counter[str]()
    for (name, labels), number in both.metrics.counts.items():
        if name == "weir_shadow_decisions_total":
            found[dict(labels)["shadow"]] += number
    assert found == counted


async def test_without_a_shadow_policy_nothing_is_said_of_one() -> None:
    [verdict] = await rig().moderator.moderate([event("fine")])
    assert isinstance(verdict, Verdict)
    assert b"shadow_policy" not in encode_moderated(event("fine"), verdict)


async def test_a_rewrite_that_does_not_pass_counts_as_the_rewrite_that_the_rules_in_force_asked_for() -> None:
    stubborn = policy(version="live", safe_completions={"default": "harm=0.9"})
    made = build_rig(policy=stubborn, detoxifier=FakeDetoxifier(lambda _: "harm=0.9"))
    [verdict] = await made.moderator.under(stubborn, shadow_policy=SHADOW).moderate([event("harm=0.6")])
    assert isinstance(verdict, Verdict)
    assert verdict.action is Action.REVIEW
    assert [dict(labels) for name, labels in made.metrics.counts if name == "weir_shadow_decisions_total"] == [
        {"live": "rewrite", "shadow": "rewrite"}
    ]


async def test_a_tenant_that_the_shadow_policy_refuses_would_have_no_verdict() -> None:
    refusing = policy(version="strict", on_unknown_tenant="refuse", tenants={"kids": TenantOverrides()})
    [verdict] = await rig().moderator.under(LIVE, shadow_policy=refusing).moderate([event("fine", tenant="nobody")])
    assert isinstance(verdict, Verdict)
    assert verdict.shadow_policy is not None
    assert (verdict.action, verdict.shadow_policy.action) == (Action.ALLOW, None)
