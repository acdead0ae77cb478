"""What a Moderator does with single events."""

import asyncio
from collections.abc import Sequence

import pytest
from pydantic import JsonValue

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import IncompleteError, ModelUnavailableError
from protector_models.moderation.fakes import (
    POISON,
    FakeDetoxifier,
    FakeGenerator,
    FakeHarmDetector,
    FakeImageReader,
    FakeImageSource,
)
from protector_models.moderation.images import ImageContent
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.messages.message import Message
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.policy.policy import TenantOverrides
from protector_models.moderation.ports import Answer, RewriteRequest
from protector_models.moderation.stages import Stage, StageStatus
from protector_models.moderation.verdict import Action, Failure, Verdict
from protector_models.moderation.wire.halving import moderate_isolating, run_isolating, shown_content
from tests.builders import SAFE_TEXT, assistant, audible, event, policy, rule, unread_part, user
from tests.protector_models.moderation.rig import build_rig, verdicts


async def test_a_harmless_response_is_delivered_unchanged() -> None:
    [verdict] = verdicts(await build_rig().moderator.moderate([event("Take the bus.")]))
    assert verdict.action is Action.ALLOW
    assert verdict.response == "Take the bus."
    assert verdict.category is None
    assert verdict.original_response is None
    assert verdict.policy_version == policy().revision
    assert verdict.evaluation_status.assessment is StageStatus.COMPLETE
    assert verdict.evaluation_status.rewrite is StageStatus.SKIPPED


async def test_a_blocked_response_is_not_delivered() -> None:
    rig = build_rig(policy=policy(rules=[rule(0.5, Action.BLOCK)]))
    [verdict] = verdicts(await rig.moderator.moderate([event("harm=0.9 category=hate")]))
    assert (verdict.action, verdict.category, verdict.response) == (Action.BLOCK, "hate", None)


@pytest.mark.parametrize("deliver", [False, True])
async def test_a_response_under_review_is_delivered_only_where_the_policy_says_so(*, deliver: bool) -> None:
    rig = build_rig(policy=policy(rules=[rule(0.5, Action.REVIEW)], deliver_under_review=deliver))
    [verdict] = verdicts(await rig.moderator.moderate([event("harm=0.9")]))
    assert verdict.action is Action.REVIEW
    assert verdict.response == ("harm=0.9" if deliver else None)


async def test_what_a_detector_of_a_new_revision_scored_is_not_kept_under_the_old_one() -> None:
    class Rolling(FakeHarmDetector):
        async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
            self.revision = "fake-detector@2"
            return await super().assess(exchanges)

    rig = build_rig(detector=Rolling())
    for cached in (False, True):
        [verdict] = verdicts(await rig.moderator.moderate([event()]))
        assert verdict.cached is cached
        assert verdict.model_revisions == {"detector": "fake-detector@2"}


class _CountingGenerator(FakeGenerator):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
        self.asked += [event.event_id for event in events]
        return await super().generate(events)


async def test_the_mllm_is_not_asked_again_where_a_later_stage_is_tried_again() -> None:
    generator, detector = _CountingGenerator(), FakeHarmDetector()
    rig = build_rig(generator=generator, detector=detector)
    batch = [event(None, event_id="one"), event(None, event_id="two")]
    detector.unavailable = True
    for _ in range(2):
        with pytest.raises(ModelUnavailableError):
            await rig.moderator.moderate(batch)
    detector.unavailable = False
    [verdict, _] = verdicts(await rig.moderator.moderate(batch))
    assert verdict.model_revisions["mllm"] == "fake-mllm@1"
    assert generator.asked == ["one", "two"]
    # The batch came to its end: an answer is no output that is kept.
    await rig.moderator.moderate(batch[:1])
    assert generator.asked == ["one", "two", "one"]


async def test_the_mllm_is_not_asked_again_where_a_fault_of_one_event_is_looked_for() -> None:
    generator = _CountingGenerator()
    rig = build_rig(generator=generator)
    batch = [event(None, prompt=f"harm=0.{number}", event_id=str(number)) for number in range(7)]
    faulty = event(None, prompt="harm=much", event_id="faulty")
    outcomes = await moderate_isolating(rig.moderator, [*batch, faulty])
    assert [type(outcome) for outcome in outcomes] == [Verdict] * 7 + [Failure]
    assert sorted(generator.asked) == sorted([str(number) for number in range(7)] + ["faulty"])


@pytest.mark.parametrize("in_steps", [False, True])
async def test_halves_of_a_batch_are_counted_and_forgotten_when_the_whole_of_it_is_through(in_steps: bool) -> None:
    class _GoneForTheSecondHalf(FakeHarmDetector):
        async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
            self.unavailable = is_gone and [exchange.prompt for exchange in exchanges] == ["harm=0.2", "harm=0.3"]
            return await super().assess(exchanges)

    is_gone = True
    generator = _CountingGenerator()
    rig = build_rig(generator=generator, detector=_GoneForTheSecondHalf())
    prompts = ("harm=0.1", "harm=much", "harm=0.2", "harm=0.3")
    batch = [event(None, prompt=prompt, event_id=prompt) for prompt in prompts]

    async def moderate() -> Sequence[object]:
        if in_steps:
            return await run_isolating(rig.moderator.decide, batch, stage=Stage.ASSESS, content=shown_content)
        return await moderate_isolating(rig.moderator, batch)

    with pytest.raises(ModelUnavailableError):
        await moderate()
    assert rig.metrics.total("weir_verdicts_total") == 0
    is_gone = False
    assert [type(outcome) for outcome in await moderate()] == [Verdict, Failure, Verdict, Verdict]
    assert rig.metrics.total("weir_verdicts_total") == 3
    assert sorted(generator.asked) == sorted(prompts)
    # The batch came to its end.
    await moderate_isolating(rig.moderator, batch[:1])
    assert generator.asked[-1] == "harm=0.1"
    assert len(generator.asked) == len(prompts) + 1


async def test_what_the_mllm_answered_before_it_was_gone_is_kept() -> None:
    class Interrupted(_CountingGenerator):
        async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
            answers = await super().generate(events)
            if len(events) > 1:
                raise IncompleteError(ModelUnavailableError("gone"), [answers[0], None])
            return answers

    generator = Interrupted()
    rig = build_rig(generator=generator)
    batch = [event(None, event_id="one"), event(None, event_id="two")]
    with pytest.raises(IncompleteError, match="gone"):
        await rig.moderator.moderate(batch)
    assert len(verdicts(await rig.moderator.moderate(batch))) == 2
    assert generator.asked == ["one", "two", "two"]


@pytest.mark.parametrize("milder", [Action.REWRITE, Action.ALLOW])
async def test_what_a_rule_wants_rewritten_is_not_delivered_under_review_where_another_wants_it_reviewed(
    milder: Action,
) -> None:
    rules = [rule(0.8, Action.REVIEW), *([] if milder is Action.ALLOW else [rule(0.5, milder)])]
    rig = build_rig(policy=policy(rules=rules, deliver_under_review=True))
    [verdict] = verdicts(await rig.moderator.moderate([event("harm=0.9")]))
    assert verdict.action is Action.REVIEW
    assert verdict.response == ("harm=0.9" if milder is Action.ALLOW else None)


async def test_shadow_mode_delivers_everything_and_says_what_it_would_have_done() -> None:
    rig = build_rig(policy=policy(rules=[rule(0.5, Action.BLOCK)], shadow=True), include_original=True)
    [verdict] = verdicts(await rig.moderator.moderate([event("harm=0.9")]))
    assert (verdict.action, verdict.shadow_action) == (Action.ALLOW, Action.BLOCK)
    assert verdict.response == "harm=0.9"
    assert verdict.original_response is None


async def test_each_tenant_is_judged_by_its_own_rules() -> None:
    rig = build_rig(policy=policy(tenants={"strict": TenantOverrides(rules=(rule(0.2, Action.BLOCK),))}))
    ours, theirs = verdicts(await rig.moderator.moderate([event("harm=0.3"), event("harm=0.3", tenant="strict")]))
    assert (ours.action, theirs.action) == (Action.ALLOW, Action.BLOCK)
    assert len(rig.detector.assessed) == 1


@pytest.mark.parametrize("action", [Action.REWRITE, Action.REVIEW, Action.BLOCK])
async def test_the_original_of_what_is_not_delivered_is_absent_unless_asked_for(action: Action) -> None:
    rules = policy(rules=[rule(0.5, action)])
    [kept] = verdicts(await build_rig(policy=rules).moderator.moderate([event("harm=0.9 secret")]))
    assert "secret" not in kept.model_dump_json()
    told = build_rig(policy=rules, include_original=True)
    [verdict] = verdicts(await told.moderator.moderate([event("harm=0.9 secret")]))
    assert verdict.original_response == "harm=0.9 secret"


async def test_the_original_is_not_said_twice_where_it_is_delivered() -> None:
    rules = policy(rules=[rule(0.5, Action.REVIEW)], deliver_under_review=True)
    rig = build_rig(policy=rules, include_original=True)
    for verdict in verdicts(await rig.moderator.moderate([event("harm=0.9"), event("harmless")])):
        assert verdict.response is not None
        assert verdict.original_response is None


async def test_an_image_that_was_not_evaluated_makes_the_assessment_partial() -> None:
    rig = build_rig(policy=policy(on_unread_images=Action.ALLOW))
    [verdict] = verdicts(await rig.moderator.moderate([event(images=["https://example.org/cat.png"])]))
    assert verdict.action is Action.ALLOW
    assert verdict.evaluation_status.assessment is StageStatus.PARTIAL


async def test_a_part_that_nothing_reads_makes_the_assessment_partial_and_is_reviewed() -> None:
    [verdict] = verdicts(await build_rig().moderator.moderate([event(messages=[user(), audible()])]))
    assert (verdict.action, verdict.response) == (Action.REVIEW, None)
    assert verdict.evaluation_status.assessment is StageStatus.PARTIAL
    assert verdict.assessment is not None
    coverage = verdict.assessment.coverage
    assert (coverage.unread_parts, coverage.unread_parts_total) == ((unread_part(position=1),), 1)
    assert not coverage.is_complete()


async def test_a_part_that_nothing_reads_may_be_allowed() -> None:
    rig = build_rig(policy=policy(on_unread_parts=Action.ALLOW))
    [verdict] = verdicts(await rig.moderator.moderate([event(messages=[audible()])]))
    assert (verdict.action, verdict.response) == (Action.ALLOW, "Take the bus.")


async def test_an_unread_part_is_minded_where_the_policy_lets_a_failure_pass() -> None:
    rig = build_rig(policy=policy(on_failure=Action.ALLOW))
    [verdict] = verdicts(await rig.moderator.moderate([event(POISON, messages=[audible()])]))
    assert verdict.action is Action.REVIEW


@pytest.mark.parametrize("response", ["", None])
async def test_harmful_calls_of_tools_are_not_delivered(response: str | None) -> None:
    call: JsonValue = {"function": {"name": "post", "arguments": '{"text": "harm=0.9 category=hate"}'}}
    asked = event(response, messages=[user(), assistant(None, tool_calls=(call,))])
    for generator in (None, FakeGenerator()):
        [verdict] = verdicts(await build_rig(generator=generator).moderator.moderate([asked]))
        assert (verdict.action, verdict.response) == (Action.REWRITE, SAFE_TEXT)
        assert "mllm" not in verdict.model_revisions


@pytest.mark.parametrize(
    ("messages", "error"), [([], "NothingToAnswer"), ([user(), audible()], "PartsNotShown"), ([user()], None)]
)
async def test_an_mllm_is_asked_only_what_it_can_be_shown(messages: list[Message], error: str | None) -> None:
    rig = build_rig(generator=FakeGenerator())
    [outcome] = await rig.moderator.moderate([event(None, messages=messages)])
    assert (outcome.error if isinstance(outcome, Failure) else None) == error
    [without] = await build_rig().moderator.moderate([event(None, messages=messages)])
    assert isinstance(without, Failure)
    assert without.error == "NoMllmConfigured"


async def test_text_that_was_not_read_is_reviewed_by_default() -> None:
    rig = build_rig(detector=FakeHarmDetector(max_characters=10))
    [verdict] = verdicts(await rig.moderator.moderate([event("Take the bus." * 100)]))
    assert (verdict.action, verdict.response) == (Action.REVIEW, None)
    assert verdict.assessment is not None
    assert verdict.assessment.truncated


async def test_a_response_the_detector_fails_on_is_a_dead_letter_by_default() -> None:
    [failure] = await build_rig().moderator.moderate([event(f"{POISON} pill")])
    assert failure == Failure(
        stage=Stage.ASSESS, error="Poison", message="the response holds the word that fakes refuse"
    )


@pytest.mark.parametrize(
    ("action", "response"), [(Action.ALLOW, f"{POISON} pill"), (Action.REVIEW, None), (Action.BLOCK, None)]
)
async def test_the_policy_may_decide_on_a_failure_and_it_is_counted(action: Action, response: str | None) -> None:
    rig = build_rig(policy=policy(on_failure=action))
    [verdict] = verdicts(await rig.moderator.moderate([event(f"{POISON} pill")]))
    assert (verdict.action, verdict.response, verdict.category) == (action, response, None)
    assert verdict.assessment is None
    assert verdict.evaluation_status.assessment is StageStatus.FAILED
    assert not verdict.cached
    assert rig.metrics.total("weir_failures_decided_by_policy_total") == 1


async def test_a_missing_response_without_an_mllm_is_a_failure_that_says_so() -> None:
    [failure] = await build_rig().moderator.moderate([event(None)])
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.error) == (Stage.GENERATE, "NoMllmConfigured")
    assert "mllm" in failure.message


async def test_a_missing_response_is_answered_by_the_mllm_and_then_judged() -> None:
    rig = build_rig(generator=FakeGenerator(), detoxifier=FakeDetoxifier())
    allowed, rewritten = verdicts(
        await rig.moderator.moderate([event(None, prompt="harmless"), event(None, prompt="harm=0.9")])
    )
    assert allowed.response == "harmless"
    assert allowed.evaluation_status.generation is StageStatus.COMPLETE
    assert allowed.model_revisions == {"detector": "fake-detector@1", "mllm": "fake-mllm@1"}
    assert rewritten.action is Action.REWRITE
    assert rewritten.response == "rewritten, attempt 0"


async def test_what_the_mllm_fails_on_fails_alone() -> None:
    rig = build_rig(generator=FakeGenerator())
    failure, verdict = await rig.moderator.moderate([event(None, prompt=POISON), event(None)])
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.error) == (Stage.GENERATE, "Poison")
    assert verdicts([verdict])


async def test_an_answer_of_the_mllm_that_has_no_utf_8_form_fails_alone() -> None:
    class _Garbled(FakeGenerator):
        async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
            texts = ["\ud800" if single.event_id == "garbled" else "fine" for single in events]
            return [Answer(text=text, mllm=self.revision) for text in texts]

    rig = build_rig(generator=_Garbled())
    failure, verdict = await rig.moderator.moderate([event(None, event_id="garbled"), event(None)])
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.error) == (Stage.GENERATE, "InvalidText")
    assert verdicts([verdict])


async def test_an_answer_of_the_mllm_is_never_called_cached() -> None:
    rig = build_rig(generator=FakeGenerator())
    await rig.moderator.moderate([event(None)])
    [verdict] = verdicts(await rig.moderator.moderate([event(None)]))
    assert not verdict.cached


async def test_a_changed_threshold_needs_no_model_run() -> None:
    cache = MemoryVerdictCache(max_entries=10)
    await build_rig(cache=cache).moderator.moderate([event("harm=0.4")])
    stricter = build_rig(cache=cache, policy=policy(rules=[rule(0.3, Action.REVIEW)], version="policy-2"))
    [verdict] = verdicts(await stricter.moderator.moderate([event("harm=0.4")]))
    assert (verdict.action, verdict.response, verdict.cached) == (Action.REVIEW, None, True)
    assert stricter.detector.assessed == []


async def test_another_revision_of_the_detector_does_not_use_what_the_old_one_said() -> None:
    cache = MemoryVerdictCache(max_entries=10)
    await build_rig(cache=cache).moderator.moderate([event()])
    newer = build_rig(cache=cache, detector=FakeHarmDetector(revision="fake-detector@2"))
    [verdict] = verdicts(await newer.moderator.moderate([event()]))
    assert not verdict.cached
    assert verdict.model_revisions == {"detector": "fake-detector@2"}


async def test_a_dead_detector_raises_and_nothing_is_decided() -> None:
    rig = build_rig()
    rig.detector.unavailable = True
    with pytest.raises(ModelUnavailableError):
        await moderate_isolating(rig.moderator, [event(), event("something else")])
    assert rig.metrics.total("weir_verdicts_total") == 0
    assert rig.metrics.total("weir_failures_total") == 0


class _Sick(FakeHarmDetector):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        raise self._error


@pytest.mark.parametrize("num_events", [1, 2, 7])
@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), ValueError("of our own")])
async def test_a_model_that_breaks_in_the_same_way_on_several_events_alone_is_ill(
    error: Exception, num_events: int
) -> None:
    moderator = build_rig(detector=_Sick(error)).moderator
    events = [event(f"text {number}") for number in range(num_events)]
    if isinstance(error, RuntimeError) and num_events > 1:
        with pytest.raises(ModelUnavailableError, match=f"RuntimeError on each of {num_events} events alone"):
            await moderate_isolating(moderator, events)
    else:
        outcomes = await moderate_isolating(moderator, events)
        assert [outcome.error for outcome in outcomes if isinstance(outcome, Failure)] == [
            type(error).__name__
        ] * num_events


@pytest.mark.parametrize(
    ("events", "is_ill"),
    [
        ([event("text", event_id="1"), event("text", event_id="2", tenant="another")], False),
        ([event("text", event_id="1"), event("other", event_id="2")], True),
        ([event("text", event_id="1"), event("text", event_id="2", images=["a"])], True),
        ([event("text", event_id="1"), event("text", event_id="2"), event("other", event_id="3")], True),
    ],
)
async def test_copies_of_one_conversation_are_one_piece_of_evidence_that_a_model_is_ill(
    events: list[ConversationEvent], is_ill: bool
) -> None:
    moderator = build_rig(detector=_Sick(RuntimeError("CUDA error"))).moderator
    if is_ill:
        with pytest.raises(ModelUnavailableError):
            await moderate_isolating(moderator, events)
    else:
        outcomes = await moderate_isolating(moderator, events)
        assert [type(outcome) for outcome in outcomes] == [Failure] * len(events)


async def test_batches_at_the_same_time_score_a_common_exchange_once() -> None:
    class _Yielding(FakeHarmDetector):
        async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
            await asyncio.sleep(0)
            return await super().assess(exchanges)

    rig = build_rig(detector=_Yielding(), detoxifier=FakeDetoxifier())
    batches = [[event("harm=0.9"), event(f"batch {number}")] for number in range(4)]
    outcomes = await asyncio.gather(*(rig.moderator.moderate(batch) for batch in batches))
    assert len({verdicts(batch)[0].model_dump_json() for batch in outcomes}) == 1
    assert len(rig.detector.assessed) == len(set(rig.detector.assessed)) == 7


async def test_a_harmful_response_is_not_delivered_under_review_because_an_image_was_not_read() -> None:
    rig = build_rig(policy=policy(deliver_under_review=True))
    withheld, delivered = verdicts(
        await rig.moderator.moderate(
            [
                event("harm=0.9", images=["https://example.org/cat.png"]),
                event("harm=0.1", images=["https://example.org/cat.png"]),
            ]
        )
    )
    assert (withheld.action, withheld.response) == (Action.REVIEW, None)
    assert (delivered.action, delivered.response) == (Action.REVIEW, "harm=0.1")


@pytest.mark.parametrize(
    ("faulty", "stage"),
    [
        ("images", Stage.IMAGES),
        ("mllm", Stage.GENERATE),
        ("detector", Stage.ASSESS),
        ("detoxifier", Stage.REWRITE),
        ("detector of the rewrite", Stage.VERIFY),
    ],
)
async def test_a_fault_that_nobody_foresaw_is_put_down_to_the_stage_that_it_happened_in(
    faulty: str, stage: Stage
) -> None:
    def write(_request: RewriteRequest) -> str:
        if faulty == "detoxifier":
            raise ZeroDivisionError
        return "harm=not-a-number" if faulty == "detector of the rewrite" else "mild"

    class _Source(FakeImageSource):
        async def fetch(self, references: Sequence[str]) -> list[ImageContent | ItemFailure]:
            raise ZeroDivisionError

    class _Generator(FakeGenerator):
        async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
            raise ZeroDivisionError

    rig = build_rig(
        detoxifier=FakeDetoxifier(write),
        generator=_Generator(),
        image_source=_Source({}),
        image_reader=FakeImageReader(),
    )
    by_fault = {
        "images": event(images=["sign"]),
        "mllm": event(None),
        "detector": event("harm=not-a-number"),
    }
    culprit = by_fault.get(faulty, event("harm=0.9"))
    before, failure, after = await moderate_isolating(rig.moderator, [event(), culprit, event()])
    assert isinstance(failure, Failure)
    assert failure.stage is stage
    assert failure.error in {"ZeroDivisionError", "ValueError"}
    assert len(verdicts([before, after])) == 2


@pytest.mark.parametrize("on_failure", [Action.REVIEW, Action.ALLOW])
@pytest.mark.parametrize("images", [(), ("lost",)])
async def test_a_response_that_nobody_judged_is_never_delivered_under_review(
    on_failure: Action, images: tuple[str, ...]
) -> None:
    rig = build_rig(policy=policy(on_failure=on_failure, deliver_under_review=True))
    (verdict,) = verdicts(await rig.moderator.moderate([event(POISON, images=images)]))
    if verdict.action is Action.REVIEW:
        assert verdict.response is None
    else:
        assert (on_failure, images, verdict.response) == (Action.ALLOW, (), POISON)


@pytest.mark.parametrize(("on_unread_text", "delivered"), [(Action.REVIEW, None), (Action.ALLOW, "harm=0.6 and more")])
async def test_a_response_that_was_read_in_part_is_delivered_under_review_only_where_unread_text_is_allowed(
    on_unread_text: Action, delivered: str | None
) -> None:
    rules = policy(rules=[rule(0.5, Action.REVIEW)], on_unread_text=on_unread_text, deliver_under_review=True)
    rig = build_rig(policy=rules, detector=FakeHarmDetector(max_characters=20))
    (verdict,) = verdicts(await rig.moderator.moderate([event("harm=0.6 and more")]))
    assert (verdict.action, verdict.response) == (Action.REVIEW, delivered)


async def test_a_judged_response_beside_an_unread_image_is_delivered_under_review_where_the_policy_says_so() -> None:
    rig = build_rig(policy=policy(deliver_under_review=True))
    (verdict,) = verdicts(await rig.moderator.moderate([event("Take the bus.", images=["lost"])]))
    assert (verdict.action, verdict.response) == (Action.REVIEW, "Take the bus.")
