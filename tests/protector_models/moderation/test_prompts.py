"""Requests that are judged: what the verdict says of them, and where the MLLM is not asked because of them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.fakes import POISON, FakeDetoxifier, FakeGenerator, FakeImageReader, FakeImageSource
from protector_models.moderation.policy.policy import Policy, TenantOverrides
from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import Action, Failure, RewriteMethod, Verdict
from protector_models.moderation.wire.codec import encode_moderated
from tests.builders import event, policy, rule, user
from tests.protector_models.moderation.rig import Rig, apart_from_cached, build_rig, verdicts

HARMFUL = "harm=0.9 category=hate"
ACTIONS = (rule(0.5), rule(0.7, Action.REVIEW, category="violence"), rule(0.7, Action.BLOCK, category="weapons"))
REQUESTS = ("How?", HARMFUL, "harm=0.8 category=violence", "harm=0.8 category=weapons", f"{POISON} in it", "")
RESPONSES = ("Take the bus.", "harm=0.6", f"{POISON} pill", None)


def rules(judge_prompt: str = "report", **fields: Any) -> Policy:
    return policy(
        judge_prompt=judge_prompt,
        rules=ACTIONS,
        safe_completions={"hate": "Let us speak kindly."},
        rewrite_methods={"default": ["generate", "complete"]},
        **fields,
    )


class Answering(FakeGenerator):
    """An MLLM that says something harmless, and notes what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def generate(self, events: Any) -> Any:
        self.asked += [each.messages[-1].said() for each in events]
        plain = [each.model_copy(update={"messages": (user("By train."),)}) for each in events]
        return await super().generate(plain)


def rig(made_by: Policy, generator: FakeGenerator | None = None, **more: Any) -> Rig:
    return build_rig(policy=made_by, detoxifier=FakeDetoxifier(), generator=generator, **more)


async def one(made: Rig, request: str, response: str | None, **more: Any) -> Verdict:
    messages = [user(request)] if request else []
    [verdict] = verdicts(await made.moderator.moderate([event(response, messages=messages, **more)]))
    return verdict


async def test_a_policy_that_does_not_ask_for_it_changes_no_byte_and_no_revision() -> None:
    made = rig(rules("skip"), Answering())
    verdict = await one(made, HARMFUL, "fine")
    assert verdict.prompt is None
    assert b'"prompt"' not in encode_moderated(event("fine"), verdict)
    assert policy().revision == policy(judge_prompt="skip").revision
    assert len({policy(judge_prompt=how).revision for how in ("skip", "report", "enforce")}) == 3
    overridden = TenantOverrides(judge_prompt="skip")
    assert policy(tenants={"kids": TenantOverrides()}).revision != policy(tenants={"kids": overridden}).revision


async def test_what_was_found_in_the_request_stands_beside_the_response() -> None:
    verdict = await one(rig(rules()), HARMFUL, "Take the bus.")
    assert (verdict.action, verdict.response) == (Action.ALLOW, "Take the bus.")
    assert verdict.prompt is not None
    assert verdict.prompt.assessment is not None
    assert (verdict.prompt.action, verdict.prompt.category, verdict.prompt.enforced) == (Action.REWRITE, "hate", False)
    assert (verdict.prompt.assessment.harmfulness, verdict.prompt.status) == (0.9, StageStatus.COMPLETE)
    assert b'"prompt":{"action":"rewrite","category":"hate",' in encode_moderated(event("fine"), verdict)


async def test_the_request_is_judged_as_a_text_by_itself_with_what_stands_in_the_images() -> None:
    made = rig(rules(), image_source=FakeImageSource({"data:1": b"harm=0.9"}), image_reader=FakeImageReader())
    shown = event("Take the bus.", messages=[user("What is this?", images=["data:1"])])
    [verdict] = verdicts(await made.moderator.moderate([shown]))
    assert verdict.prompt is not None
    assert verdict.prompt.action is Action.REWRITE
    assert {(each.prompt, each.response) for each in made.detector.assessed} == {
        ("What is this?", "Take the bus."),
        ("", "What is this?\nharm=0.9"),
    }


async def test_where_nobody_asked_anything_there_is_no_request() -> None:
    assert (await one(rig(rules()), "", "Take the bus.")).prompt is None


async def test_an_mllm_is_asked_in_spite_of_a_harmful_request_where_that_is_only_reported() -> None:
    generator = Answering()
    verdict = await one(rig(rules(), generator), HARMFUL, None)
    assert generator.asked == [HARMFUL]
    assert (verdict.action, verdict.response) == (Action.ALLOW, "By train.")
    assert verdict.prompt is not None
    assert (verdict.prompt.action, verdict.prompt.enforced) == (Action.REWRITE, False)


async def test_an_mllm_is_not_asked_what_the_rules_do_not_allow_and_the_policys_text_goes_out() -> None:
    generator = Answering()
    made = rig(rules("enforce"), generator, include_original=True)
    verdict = await one(made, HARMFUL, None)
    assert generator.asked == []
    assert (verdict.action, verdict.category, verdict.response) == (Action.REWRITE, "hate", "Let us speak kindly.")
    assert verdict.rewrite_method is RewriteMethod.COMPLETE
    assert verdict.rewrite_assessment is not None
    assert (verdict.assessment, verdict.original_response) == (None, None)
    status = verdict.evaluation_status
    assert (status.generation, status.assessment) == (StageStatus.SKIPPED, StageStatus.SKIPPED)
    assert (status.rewrite, status.verification) == (StageStatus.COMPLETE, StageStatus.COMPLETE)
    assert verdict.prompt is not None
    assert verdict.prompt.enforced
    assert made.metrics.total("weir_failures_decided_by_policy_total") == 0


async def test_what_an_mllm_answers_to_a_harmless_request_is_judged_all_the_same() -> None:
    class Harming(Answering):
        async def generate(self, events: Any) -> Any:
            self.asked += ["asked"] * len(events)
            harmful = [each.model_copy(update={"messages": (user("harm=0.6"),)}) for each in events]
            return await FakeGenerator.generate(self, harmful)

    verdict = await one(rig(rules("enforce"), Harming()), "How?", None)
    assert (verdict.action, verdict.response) == (Action.REWRITE, "rewritten, attempt 0")
    assert verdict.prompt is not None
    assert (verdict.prompt.action, verdict.prompt.enforced) == (Action.ALLOW, False)


async def test_requests_under_review_or_blocked_have_no_answer() -> None:
    for category, action in (("violence", Action.REVIEW), ("weapons", Action.BLOCK)):
        generator = Answering()
        made = rig(rules("enforce", deliver_under_review=True), generator)
        verdict = await one(made, f"harm=0.8 category={category}", None)
        assert (verdict.action, verdict.response, generator.asked) == (action, None, [])


async def test_a_response_that_came_with_its_event_decides_whatever_the_request_was() -> None:
    verdict = await one(rig(rules("enforce"), Answering()), HARMFUL, "Take the bus.")
    assert (verdict.action, verdict.response) == (Action.ALLOW, "Take the bus.")
    assert verdict.prompt is not None
    assert (verdict.prompt.action, verdict.prompt.enforced) == (Action.REWRITE, False)


async def test_in_shadow_nothing_is_enforced() -> None:
    verdict = await one(rig(rules("enforce", shadow=True), generator := Answering()), HARMFUL, None)
    assert (verdict.response, generator.asked) == ("By train.", [HARMFUL])
    assert verdict.prompt is not None
    assert verdict.prompt.action is Action.REWRITE
    made = rig(rules("enforce"), generator := Answering())
    await made.moderator.in_shadow().moderate([event(None, messages=[user(HARMFUL)])])
    assert generator.asked == [HARMFUL]
    [verdict] = verdicts(await made.moderator.in_shadow(judges_image_texts=True).moderate([event("fine")]))
    assert verdict.prompt is None


async def test_a_request_that_the_detector_fails_on_is_never_taken_as_harmless() -> None:
    request = f"{POISON} in it"
    reported = await one(rig(rules()), request, "Take the bus.")
    assert reported.prompt is not None
    assert (reported.prompt.action, reported.prompt.status) == (None, StageStatus.FAILED)
    assert reported.model_revisions["detector"] == "fake-detector@1"

    async def enforced(on_failure: str) -> tuple[Any, list[str], Rig]:
        made = rig(rules("enforce", on_failure=on_failure), generator := Answering())
        [outcome] = await made.moderator.moderate([event(None, messages=[user(request)])])
        return outcome, generator.asked, made

    outcome, asked, _ = await enforced("dead_letter")
    assert isinstance(outcome, Failure)
    assert (outcome.error, asked) == ("Poison", [])
    for on_failure in ("review", "block"):
        outcome, asked, _ = await enforced(on_failure)
        assert (outcome.action.value, outcome.response, asked) == (on_failure, None, [])
    outcome, asked, made = await enforced("allow")
    assert (outcome.response, asked) == ("By train.", [request])
    (labels,) = [dict(labels) for name, labels in made.metrics.counts if name == "weir_prompts_total"]
    assert labels == {"action": "allow", "status": "failed", "enforced": "false"}


async def test_a_tenants_own_word_holds() -> None:
    made = rig(rules("skip", tenants={"kids": TenantOverrides(judge_prompt="enforce")}), generator := Answering())
    assert (await one(made, HARMFUL, None, tenant="kids")).action is Action.REWRITE
    assert generator.asked == []
    assert (await one(made, HARMFUL, None)).prompt is None


async def test_the_same_request_again_comes_from_the_cache() -> None:
    made = rig(rules())
    assert not (await one(made, HARMFUL, "Take the bus.")).cached
    num_assessed = len(made.detector.assessed)
    assert (await one(made, HARMFUL, "Take the bus.")).cached
    assert not (await one(made, "Another.", "Take the bus.")).cached
    assert len(made.detector.assessed) == num_assessed + 2


@given(
    judged=st.sampled_from(["report", "enforce"]),
    batch=st.lists(st.tuples(st.sampled_from(REQUESTS), st.sampled_from(RESPONSES)), max_size=8),
)
async def test_laws_of_requests(judged: str, batch: list[tuple[str, str | None]]) -> None:
    """Neighbours change nothing; a response is judged as if the request were not; the MLLM sees what is allowed."""
    events = [
        event(response, event_id=f"e{number}", messages=[user(request)] if request else [])
        for number, (request, response) in enumerate(batch)
    ]
    generator = Answering()
    outcomes = await rig(rules(judged), generator).moderator.moderate(events)
    alone = [(await rig(rules(judged), Answering()).moderator.moderate([each]))[0] for each in events]
    assert apart_from_cached(outcomes) == apart_from_cached(alone)
    unjudged = await rig(rules("skip"), Answering()).moderator.moderate(events)
    for outcome, plain, (request, response) in zip(outcomes, unjudged, batch, strict=True):
        kept = judged == "enforce" and response is None and request not in {"How?", ""}
        if isinstance(outcome, Verdict):
            assert (outcome.prompt is not None) == bool(request)
            assert (outcome.prompt is not None and outcome.prompt.enforced) == kept
        if not kept and isinstance(plain, Verdict):
            assert isinstance(outcome, Verdict)
            for name in ("action", "category", "response", "assessment", "rewrite_method", "evaluation_status"):
                assert getattr(outcome, name) == getattr(plain, name)
    if judged == "enforce":
        assert set(generator.asked) <= {"How?"}
