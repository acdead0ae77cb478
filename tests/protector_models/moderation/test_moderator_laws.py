"""Laws of the Moderator, over batches that mix everything that may happen to an event."""

from collections import Counter
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.conclusions import Decided
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.fakes import (
    POISON,
    DeadVerdictCache,
    FakeDetoxifier,
    FakeGenerator,
    FakeHarmDetector,
    FakeImageReader,
    FakeImageSource,
    RecordedMetrics,
    harmless,
)
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.policy.image_rules import ImageRule
from protector_models.moderation.policy.policy import TenantOverrides
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import Action, Failure, Verdict
from protector_models.moderation.wire.halving import moderate_isolating
from tests.builders import event, policy, rule
from tests.protector_models.moderation.rig import Rig, apart_from_cached, build_rig, verdicts

RESPONSES = (
    "Take the bus.",
    "",
    "harm=0.4",
    "harm=0.6 category=hate",
    "Take the bus. You are a harm=0.6 category=hate and nobody likes you. Or walk, it is not very far from here.",
    "harm=0.8 category=violence",
    "harm=0.9 category=weapons",
    f"{POISON} pill",
    None,
)
PROMPTS = ("How do I get home?", "harm=0.7 echo", f"{POISON} in the prompt", "")
CONTENTS = {
    "sign": b"a sign",
    "the same sign": b"a sign",
    "weapon": b"image=0.9:weapons",
    "known": b"known=cat",
    "damaged": POISON.encode(),
}
IMAGES: tuple[tuple[str, ...], ...] = (
    (),
    ("not to be had",),
    ("sign", "the same sign"),
    ("weapon", "damaged", "known"),
    ("known",),
    ("sign",) * 4,
)
POLICY = policy(
    rules=(
        rule(0.5, Action.REWRITE),
        rule(0.8, Action.REVIEW, category="violence"),
        rule(0.9, Action.BLOCK, category="weapons"),
    ),
    rewrite_methods={"default": ["generate", "complete"], "hate": ["edit", "omit", "complete"]},
    omissions={"default": "(Left out.)"},
    image_rules=[ImageRule(category="weapons", threshold=0.5, action=Action.REVIEW)],
    safe_completions={"hate": "Let us speak kindly."},
    tenants={
        "strict": TenantOverrides(rules=(rule(0.3, Action.BLOCK),), on_failure=Action.BLOCK),
        "open": TenantOverrides(
            on_failure=Action.ALLOW,
            on_unread_images=Action.ALLOW,
            on_known_image=Action.ALLOW,
            deliver_under_review=True,
        ),
        "shadow": TenantOverrides(shadow=True, on_failure=Action.REVIEW),
        "patient": TenantOverrides(max_rewrite_attempts=4, safe_completions={"default": "Let us talk of the sea."}),
    },
)

Writer = Callable[[RewriteRequest], str]

events = st.builds(
    event,
    st.sampled_from(RESPONSES),
    prompt=st.sampled_from(PROMPTS),
    images=st.sampled_from(IMAGES),
    tenant=st.sampled_from(("default", "strict", "open", "shadow", "patient")),
)
batches = st.lists(events, max_size=8)


def _harmless_on_third_attempt(request: RewriteRequest) -> str:
    return f"harm={0.2 if request.attempt >= 2 else 0.7} attempt {request.attempt}"


def _never_harmless(request: RewriteRequest) -> str:
    return f"harm=0.95 attempt {request.attempt}"


writers: st.SearchStrategy[Writer | None] = st.sampled_from(
    (None, harmless, _harmless_on_third_attempt, _never_harmless)
)


@st.composite
def rigs(draw: st.DrawFn) -> tuple[Rig, Rig]:
    """Draw two Moderators put together in the same way, with nothing in common."""
    write = draw(writers)
    generates = draw(st.booleans())
    max_entries = draw(st.sampled_from((0, 2, 1_000)))
    max_characters = draw(st.sampled_from((None, 20)))
    fetches, reads = draw(st.sampled_from(((False, False), (True, False), (True, True), (True, True))))
    include_original = draw(st.booleans())

    def build() -> Rig:
        return build_rig(
            policy=POLICY,
            detector=FakeHarmDetector(max_characters=max_characters),
            detoxifier=FakeDetoxifier(write) if write else None,
            generator=FakeGenerator() if generates else None,
            cache=MemoryVerdictCache(max_entries=max_entries),
            image_source=FakeImageSource(CONTENTS) if fetches else None,
            image_reader=FakeImageReader() if reads else None,
            max_images=3,
            include_original=include_original,
        )

    return build(), build()


@given(batches, rigs())
async def test_a_batch_ends_as_its_events_do_one_by_one(batch: list[ConversationEvent], pair: tuple[Rig, Rig]) -> None:
    together, alone = pair
    outcomes = await together.moderator.moderate(batch)
    singles = [outcome for single in batch for outcome in await alone.moderator.moderate([single])]
    assert apart_from_cached(outcomes) == apart_from_cached(singles)


@given(batches, batches, rigs())
async def test_deciding_and_rewriting_apart_ends_and_counts_as_moderating_does(
    first: list[ConversationEvent], second: list[ConversationEvent], pair: tuple[Rig, Rig]
) -> None:
    at_once, apart = pair
    expected = await at_once.moderator.moderate([*first, *second])
    ends = [*await apart.moderator.decide(first), *await apart.moderator.decide(second)]
    rewritten = iter(await apart.moderator.rewrite([end for end in ends if isinstance(end, Decided)]))
    found = [next(rewritten) if isinstance(end, Decided) else end for end in ends]
    assert apart_from_cached(found) == apart_from_cached(expected)
    assert _decisions(apart.metrics) == _decisions(at_once.metrics)


def _decisions(metrics: RecordedMetrics) -> Counter[tuple[str, frozenset[tuple[str, str]]]]:
    """Return what was counted, but for the cache, which two batches ask twice."""
    return Counter({name: number for name, number in metrics.counts.items() if "cache" not in name[0]})


@given(batches, rigs())
async def test_a_replay_gives_equal_bytes(batch: list[ConversationEvent], pair: tuple[Rig, Rig]) -> None:
    first, second = [await rig.moderator.moderate(batch) for rig in pair]
    assert [outcome.model_dump_json() for outcome in first] == [outcome.model_dump_json() for outcome in second]


@given(batches, rigs())
async def test_a_warm_cache_changes_nothing_but_cached(batch: list[ConversationEvent], pair: tuple[Rig, Rig]) -> None:
    rig, _ = pair
    cold = await rig.moderator.moderate(batch)
    warm = await rig.moderator.moderate(batch)
    assert apart_from_cached(warm) == apart_from_cached(cold)


@given(batches, writers)
async def test_a_dead_cache_changes_nothing_but_cached(batch: list[ConversationEvent], write: Writer | None) -> None:
    detoxifier = FakeDetoxifier(write) if write else None
    alive = build_rig(policy=POLICY, detoxifier=detoxifier)
    dead = build_rig(policy=POLICY, detoxifier=detoxifier, cache=DeadVerdictCache())
    await alive.moderator.moderate(batch)
    assert apart_from_cached(await alive.moderator.moderate(batch)) == apart_from_cached(
        await dead.moderator.moderate(batch)
    )


@given(batches, writers)
async def test_no_exchange_is_scored_twice(batch: list[ConversationEvent], write: Writer | None) -> None:
    rig = build_rig(policy=POLICY, detoxifier=FakeDetoxifier(write) if write else None, generator=FakeGenerator())
    await rig.moderator.moderate(batch)
    assert all(times == 1 for times in Counter(rig.detector.assessed).values())


@given(batches)
async def test_a_second_run_asks_the_models_only_about_what_failed(batch: list[ConversationEvent]) -> None:
    answered = [single for single in batch if single.response is not None]
    rig = build_rig(policy=POLICY, detoxifier=FakeDetoxifier())
    assert rig.detoxifier is not None
    await rig.moderator.moderate(answered)
    rig.detector.assessed.clear()
    rig.detoxifier.requested.clear()
    again = await rig.moderator.moderate(answered)
    assert all(POISON in exchange.response for exchange in rig.detector.assessed)
    assert all(POISON in request.exchange.prompt for request in rig.detoxifier.requested)
    for single, outcome in zip(answered, again, strict=True):
        if isinstance(outcome, Verdict) and POISON not in f"{single.response} {single.messages[0].text()}":
            assert outcome.cached


@given(batches, batches)
async def test_a_poisoned_event_fails_alone(before: list[ConversationEvent], after: list[ConversationEvent]) -> None:
    poisoned = event(f"a {POISON} pill", prompt="nobody else asks this")
    outcomes = await build_rig(policy=POLICY).moderator.moderate([*before, poisoned, *after])
    unharmed = await build_rig(policy=POLICY).moderator.moderate([*before, *after])
    failure = outcomes.pop(len(before))
    assert isinstance(failure, Failure)
    assert failure.error == "Poison"
    assert apart_from_cached(outcomes) == apart_from_cached(unharmed)


@given(batches, batches)
async def test_an_unforeseen_fault_costs_one_event(
    before: list[ConversationEvent], after: list[ConversationEvent]
) -> None:
    faulty = event("harm=not-a-number", prompt="nobody else asks this")
    outcomes = await moderate_isolating(build_rig(policy=POLICY).moderator, [*before, faulty, *after])
    unharmed = await build_rig(policy=POLICY).moderator.moderate([*before, *after])
    failure = outcomes.pop(len(before))
    assert isinstance(failure, Failure)
    assert failure.error == "ValueError"
    assert apart_from_cached(outcomes) == apart_from_cached(unharmed)


@given(batches, rigs())
async def test_every_outcome_is_counted_once(batch: list[ConversationEvent], pair: tuple[Rig, Rig]) -> None:
    rig, _ = pair
    outcomes = await rig.moderator.moderate(batch)
    num_verdicts = sum(isinstance(outcome, Verdict) for outcome in outcomes)
    assert rig.metrics.total("weir_verdicts_total") == num_verdicts
    assert rig.metrics.total("weir_failures_total") == len(batch) - num_verdicts


@given(batches, rigs())
async def test_a_harmful_response_is_delivered_only_where_the_policy_says_so(
    batch: list[ConversationEvent], pair: tuple[Rig, Rig]
) -> None:
    rig, _ = pair
    for single, outcome in zip(batch, await rig.moderator.moderate(batch), strict=True):
        if isinstance(outcome, Verdict) and outcome.assessment and outcome.assessment.harmfulness >= 0.5:
            rules = POLICY.for_tenant(single.tenant)
            # Not where another rule wants it rewritten or blocked.
            is_reviewed = outcome.action is Action.REVIEW and not rules.decide(outcome.assessment).withheld
            asked_for = rules.shadow or (is_reviewed and rules.deliver_under_review)
            assert asked_for == (outcome.response == (single.response or single.messages[0].text()))


async def test_an_empty_batch_gives_no_outcomes() -> None:
    assert verdicts(await build_rig(detoxifier=FakeDetoxifier()).moderator.moderate([])) == []
    assert await moderate_isolating(build_rig().moderator, []) == []
