"""A Moderator under another policy: the same models, other decisions, and no verdict of two policies."""

from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.conclusions import Decided
from protector_models.moderation.fakes import FakeDetoxifier, FakeGenerator
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.verdict import Action, Outcome, Verdict
from tests.builders import event, policy, rule
from tests.protector_models.moderation.rig import Rig, apart_from_cached, build_rig

OLD = policy(version="old", safe_completions={"hate": "The old text."}, rewrite_methods={"default": ["complete"]})
NEW = policy(
    version="new",
    rules=[rule(0.3), rule(0.8, Action.BLOCK)],
    safe_completions={"hate": "The new text."},
    rewrite_methods={"default": ["complete"]},
)
RESPONSES = st.lists(
    st.sampled_from(["fine", "harm=0.4 category=hate", "harm=0.6 category=hate", "harm=0.9", None]), max_size=6
)


def rig(rules: Policy) -> Rig:
    return build_rig(policy=rules, detoxifier=FakeDetoxifier(), generator=FakeGenerator())


def revisions(outcomes: list[Outcome]) -> set[str]:
    return {outcome.policy_version for outcome in outcomes if isinstance(outcome, Verdict)}


@given(RESPONSES)
async def test_a_moderator_under_another_policy_decides_as_one_that_was_made_with_it(
    responses: list[str | None],
) -> None:
    events = [event(response, event_id=f"e{number}") for number, response in enumerate(responses)]
    old = rig(OLD)
    before = await old.moderator.moderate(events)
    num_assessed = len(old.detector.assessed)
    after = await old.moderator.under(NEW).moderate(events)
    assert apart_from_cached(after) == apart_from_cached(await rig(NEW).moderator.moderate(events))
    assert revisions(after) <= {NEW.revision}
    # What was assessed is known; only texts that the other policy puts out are new.
    again = {exchange.response for exchange in old.detector.assessed[num_assessed:]}
    assert again <= {"The new text.", *NEW.safe_completions.values()}
    assert apart_from_cached(await old.moderator.moderate(events)) == apart_from_cached(before)


@given(RESPONSES)
async def test_what_was_decided_under_one_policy_ends_under_it_whoever_rewrites_it(
    responses: list[str | None],
) -> None:
    events = [event(response, event_id=f"e{number}") for number, response in enumerate(responses)]

    async def moderate(first: Moderator, second: Moderator) -> list[Outcome]:
        ends = await first.decide(events)
        rewritten = iter(await second.rewrite([end for end in ends if isinstance(end, Decided)]))
        return [next(rewritten) if isinstance(end, Decided) else end for end in ends]

    swapped, still = rig(OLD), rig(OLD)
    outcomes = await moderate(swapped.moderator, swapped.moderator.under(NEW))
    assert apart_from_cached(outcomes) == apart_from_cached(await moderate(still.moderator, still.moderator))
    assert revisions(outcomes) <= {OLD.revision}
