"""Ways of rewriting are tried in order; what is made is looked at again before it is released."""

from collections.abc import Sequence
from typing import Any

import pytest

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import POISON, FakeDetoxifier, FakeHarmDetector
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.omission import FURTHER_OMISSION
from protector_models.moderation.policy.policy import Policy, TenantOverrides
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import Action, RewriteMethod, Verdict
from tests.builders import SAFE_TEXT, event, exchange, policy, rule, unread
from tests.protector_models.moderation.rig import Rig, build_rig, verdicts

HARMFUL = "harm=0.9 category=hate"


async def _moderate(rig: Rig, *, prompt: str = "Why?") -> Verdict:
    return verdicts(await rig.moderator.moderate([event(HARMFUL, prompt=prompt)]))[0]


def _harmless_on_second_attempt(request: RewriteRequest) -> str:
    return "harm=0.7 still bad" if request.attempt == 0 else "Be kind."


def _silent_on_first_attempt(request: RewriteRequest) -> str:
    return "" if request.attempt == 0 else "Be kind."


async def test_a_rewrite_that_passes_the_detector_is_delivered_with_its_assessment() -> None:
    rig = build_rig(detoxifier=FakeDetoxifier(lambda _: "harm=0.1 Be kind."))
    verdict = await _moderate(rig)
    assert verdict.action is Action.REWRITE
    assert verdict.response == "harm=0.1 Be kind."
    assert verdict.rewrite_assessment is not None
    assert verdict.rewrite_assessment.harmfulness == 0.1
    assert verdict.evaluation_status.rewrite is StageStatus.COMPLETE
    assert verdict.evaluation_status.verification is StageStatus.COMPLETE
    assert verdict.model_revisions == {"detector": "fake-detector@1", "detoxifier": "fake-detoxifier@1"}


async def test_what_a_detoxifier_of_a_new_revision_wrote_is_not_kept_under_the_old_one() -> None:
    class Rolling(FakeDetoxifier):
        async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
            self.revision = "fake-detoxifier@2"
            return await super().rewrite(requests)

    rig = build_rig(detoxifier=Rolling())
    for _ in range(2):
        assert (await _moderate(rig)).model_revisions["detoxifier"] == "fake-detoxifier@2"
    assert rig.detoxifier is not None
    assert len(rig.detoxifier.requested) == 1


async def test_the_detector_sees_the_rewrite_with_the_same_prompt_and_images() -> None:
    rig = build_rig(policy=policy(on_unread_images=Action.ALLOW), detoxifier=FakeDetoxifier(lambda _: "Be kind."))
    await rig.moderator.moderate([event(HARMFUL, prompt="Why?", images=["https://example.org/cat.png"])])
    assert exchange("Be kind.", prompt="Why?", images=[unread()]) in rig.detector.assessed


async def test_the_detoxifier_is_told_the_method_the_category_and_the_attempt() -> None:
    rig = build_rig(detoxifier=FakeDetoxifier(_harmless_on_second_attempt))
    await _moderate(rig)
    assert rig.detoxifier is not None
    assert rig.detoxifier.requested == [
        RewriteRequest(
            exchange=exchange(HARMFUL, prompt="Why?"), method=RewriteMethod.GENERATE, category="hate", attempt=attempt
        )
        for attempt in (0, 1)
    ]


@pytest.mark.parametrize("write", [_harmless_on_second_attempt, _silent_on_first_attempt])
async def test_a_rewrite_that_fails_is_tried_again(write: object) -> None:
    assert callable(write)
    verdict = await _moderate(build_rig(detoxifier=FakeDetoxifier(write)))
    assert verdict.response == "Be kind."
    assert verdict.evaluation_status.verification is StageStatus.COMPLETE


async def test_a_rewrite_that_the_policy_would_act_on_is_refused_and_counted() -> None:
    rig = build_rig(
        policy=policy(rules=[rule(0.8), rule(0.3, Action.REVIEW, category="weapons")], max_rewrite_attempts=3),
        detoxifier=FakeDetoxifier(lambda _: "harm=0.4 category=weapons"),
    )
    verdict = await _moderate(rig)
    assert verdict.response == SAFE_TEXT
    assert rig.metrics.total("weir_rewrites_refused_total") == 3


async def test_where_no_rewrite_passes_the_safe_text_of_the_category_is_delivered_and_was_read_too() -> None:
    rig = build_rig(
        policy=policy(safe_completions={"hate": "harm=0.3 Let us speak kindly."}),
        detoxifier=FakeDetoxifier(lambda request: f"harm=0.9 again {request.attempt}"),
    )
    verdict = await _moderate(rig)
    assert (verdict.action, verdict.rewrite_method) == (Action.REWRITE, RewriteMethod.COMPLETE)
    assert verdict.response == "harm=0.3 Let us speak kindly."
    assert verdict.rewrite_assessment is not None
    assert verdict.rewrite_assessment.harmfulness == 0.3
    assert verdict.rewrite_refused_reason == "StillHarmful"
    assert verdict.evaluation_status.rewrite is StageStatus.COMPLETE
    assert verdict.evaluation_status.verification is StageStatus.COMPLETE


async def test_where_nothing_could_be_written_the_safe_text_is_delivered_and_the_reason_is_said() -> None:
    verdict = await _moderate(build_rig(detoxifier=FakeDetoxifier()), prompt=f"{POISON} for the detoxifier")
    assert verdict.response == SAFE_TEXT
    assert verdict.rewrite_refused_reason == "EmptyRewrite"
    assert verdict.model_revisions["detoxifier"] == "fake-detoxifier@1"


async def test_a_rewrite_that_the_detector_cannot_score_is_not_released() -> None:
    verdict = await _moderate(build_rig(detoxifier=FakeDetoxifier(lambda _: f"{POISON} pill")))
    assert verdict.response == SAFE_TEXT
    assert verdict.rewrite_refused_reason == "Poison"


async def test_where_the_text_of_the_category_is_refused_the_default_one_is_tried() -> None:
    verdict = await _moderate(build_rig(policy=policy(safe_completions={"hate": "harm=0.6 is not a safe text"})))
    assert verdict.response == SAFE_TEXT
    assert (verdict.rewrite_method, verdict.rewrite_refused_reason) == (RewriteMethod.COMPLETE, "StillHarmful")


async def test_where_no_text_of_the_policy_passes_nothing_is_delivered_and_a_person_looks_at_it() -> None:
    rig = build_rig(
        policy=policy(safe_completions={"default": "harm=0.6 is not a safe text"}, deliver_under_review=True)
    )
    verdict = await _moderate(rig)
    assert (verdict.action, verdict.response, verdict.category) == (Action.REVIEW, None, "hate")
    assert (verdict.rewrite_method, verdict.rewrite_assessment) == (None, None)
    assert verdict.rewrite_refused_reason == "StillHarmful"
    assert verdict.evaluation_status.rewrite is StageStatus.FAILED
    assert verdict.evaluation_status.verification is StageStatus.FAILED
    assert rig.metrics.total("weir_rewrites_total") == 0


async def test_a_rewrite_that_was_read_in_part_is_released_only_where_the_policy_allows_it() -> None:
    def rig(action: Action) -> Rig:
        return build_rig(
            policy=policy(on_unread_text=action),
            detector=FakeHarmDetector(max_characters=60),
            detoxifier=FakeDetoxifier(lambda _: "Be kind. " * 20),
        )

    held_back = await _moderate(rig(Action.REVIEW))
    assert (held_back.response, held_back.rewrite_refused_reason) == (SAFE_TEXT, "NotFullyRead")
    released = await _moderate(rig(Action.ALLOW))
    assert released.response == "Be kind. " * 20
    assert released.evaluation_status.verification is StageStatus.PARTIAL


async def test_without_a_detoxifier_what_needs_one_is_left_out() -> None:
    rig = build_rig(policy=policy(safe_completions={"hate": "Let us speak kindly."}))
    verdict = await _moderate(rig)
    assert verdict.action is Action.REWRITE
    assert verdict.response == "Let us speak kindly."
    assert verdict.rewrite_refused_reason is None
    assert verdict.model_revisions == {"detector": "fake-detector@1"}


async def test_a_detector_that_dies_before_the_verification_raises_and_nothing_is_released() -> None:
    detector = FakeHarmDetector()

    def write_and_kill(_: RewriteRequest) -> str:
        detector.unavailable = True
        return "Be kind."

    rig = build_rig(detector=detector, detoxifier=FakeDetoxifier(write_and_kill))
    with pytest.raises(ModelUnavailableError):
        await _moderate(rig)
    assert rig.metrics.total("weir_verdicts_total") == 0
    detector.unavailable = False
    assert (await _moderate(build_rig(detector=detector, detoxifier=FakeDetoxifier()))).response is not None


async def test_each_tenant_has_as_many_attempts_as_its_rules_say() -> None:
    rig = build_rig(
        policy=policy(max_rewrite_attempts=1, tenants={"patient": TenantOverrides(max_rewrite_attempts=2)}),
        detoxifier=FakeDetoxifier(_harmless_on_second_attempt),
    )
    hasty, patient = verdicts(await rig.moderator.moderate([event(HARMFUL), event(HARMFUL, tenant="patient")]))
    assert hasty.response == SAFE_TEXT
    assert patient.response == "Be kind."


async def test_a_verdict_is_called_cached_only_if_every_attempt_came_from_the_cache() -> None:
    cache = MemoryVerdictCache(max_entries=100)

    def rig(max_rewrite_attempts: int) -> Rig:
        return build_rig(
            cache=cache,
            policy=policy(max_rewrite_attempts=max_rewrite_attempts),
            detoxifier=FakeDetoxifier(_harmless_on_second_attempt),
        )

    await _moderate(build_rig(cache=cache, policy=policy(rewrite_methods={"default": ["complete"]})))
    assert [(await _moderate(rig(attempts))).cached for attempts in (1, 1, 2, 2)] == [False, True, False, True]


async def test_equal_requests_are_written_once_and_verified_once() -> None:
    rig = build_rig(detoxifier=FakeDetoxifier())
    await rig.moderator.moderate([event(HARMFUL, event_id=str(number)) for number in range(5)])
    assert rig.detoxifier is not None
    assert len(rig.detoxifier.requested) == 1
    assert len(rig.detector.assessed) == 3
    assert rig.metrics.total("weir_rewrites_total") == 5


PARTLY = (
    "Knead the dough for ten minutes. Now harm=0.9 category=hate comes in, a word for it. "
    "Then bake the bread for an hour."
)


def _by_method(*methods: str, **fields: Any) -> Policy:
    return policy(
        rewrite_methods={"default": [*methods, "complete"]},
        omissions={"default": {"en": "(Left out.)", "de": "(Ausgelassen.)"}, "hate": "(An unkind word.)"},
        **fields,
    )


async def test_toxic_wording_is_edited_in_the_harmful_sentence_only() -> None:
    detoxifier = FakeDetoxifier(lambda request: request.exchange.response.replace("harm=0.9", "a pinch of salt"))
    rig = build_rig(policy=_by_method("edit"), detoxifier=detoxifier)
    (verdict,) = verdicts(await rig.moderator.moderate([event(PARTLY)]))
    (request,) = detoxifier.requested
    assert (request.method, request.category) == (RewriteMethod.EDIT, "hate")
    assert [PARTLY[span.start : span.end] for span in request.spans] == [PARTLY.split(". ")[1] + "."]
    assert (verdict.rewrite_method, verdict.rewrite_refused_reason) == (RewriteMethod.EDIT, None)
    assert verdict.response == PARTLY.replace("harm=0.9", "a pinch of salt")


async def test_where_editing_does_not_help_the_sentence_is_left_out() -> None:
    rig = build_rig(policy=_by_method("edit", "omit"), detoxifier=FakeDetoxifier(lambda _: "harm=0.8 is still there"))
    (verdict,) = verdicts(await rig.moderator.moderate([event(PARTLY)]))
    assert (verdict.rewrite_method, verdict.rewrite_refused_reason) == (RewriteMethod.OMIT, "StillHarmful")
    assert verdict.response == PARTLY.replace(PARTLY.split(". ")[1] + ".", "(An unkind word.)")
    assert rig.metrics.counts["weir_rewrites_total", frozenset({("method", "omit")})] == 1
    assert rig.metrics.counts[
        "weir_rewrites_refused_total", frozenset({("method", "edit"), ("reason", "StillHarmful")})
    ]


async def test_an_answer_that_is_mostly_harmful_is_not_delivered_in_part() -> None:
    rig = build_rig(policy=_by_method("omit", omit_up_to=0.2))
    (verdict,) = verdicts(await rig.moderator.moderate([event(PARTLY)]))
    assert (verdict.response, verdict.rewrite_refused_reason) == (SAFE_TEXT, "MostlyHarmful")


async def test_where_the_harmful_sentences_cannot_be_found_what_needs_them_is_refused_with_the_reason() -> None:
    in_lines = PARTLY.replace(". ", ".\n") + "\n"

    class WholesOnly(FakeHarmDetector):
        def _assess(self, exchange: Exchange) -> Assessment | ItemFailure:
            is_whole = exchange.response in {in_lines, SAFE_TEXT}
            return super()._assess(exchange) if is_whole else ItemFailure(error="Odd", message="no piece is read")

    rig = build_rig(policy=_by_method("edit", "omit"), detector=WholesOnly(), detoxifier=FakeDetoxifier())
    (verdict,) = verdicts(await rig.moderator.moderate([event(in_lines)]))
    assert (verdict.response, verdict.rewrite_refused_reason) == (SAFE_TEXT, "PiecesNotScored")
    assert rig.metrics.total("weir_rewrites_refused_total") == 2
    assert rig.detoxifier is not None
    assert rig.detoxifier.requested == []


async def test_sentences_are_looked_at_only_where_a_method_needs_them() -> None:
    rig = build_rig(policy=_by_method("generate"), detoxifier=FakeDetoxifier())
    await rig.moderator.moderate([event(PARTLY)])
    assert [one.response for one in rig.detector.assessed] == [PARTLY, *["rewritten, attempt 0"] * 2]


async def test_the_rules_of_the_tenant_say_which_sentences_are_harmful() -> None:
    mild = f"{PARTLY} And then there is harm=0.2 category=hate in this one as well."
    rig = build_rig(policy=_by_method("omit", omit_up_to=0.9, tenants={"lenient": TenantOverrides(rules=(rule(0.8),))}))
    strict, lenient = verdicts(await rig.moderator.moderate([event(mild), event(mild, tenant="lenient")]))
    assert strict.response is not None
    assert strict.response.endswith(FURTHER_OMISSION)
    assert lenient.response == mild.replace(PARTLY.split(". ")[1] + ".", "(An unkind word.)")


@pytest.mark.parametrize(
    ("prompt", "response", "expected"),
    [
        ("deutsch", "english", "Reden wir über etwas anderes."),
        ("?", "deutsch", "Reden wir über etwas anderes."),
        ("français", "deutsch", "Let us change the subject."),
        ("?", "?", "Let us change the subject."),
    ],
)
async def test_the_texts_of_the_policy_are_in_the_language_of_the_prompt_or_else_of_the_response(
    prompt: str, response: str, expected: str
) -> None:
    def name_language(text: str) -> str | None:
        return {"deutsch": "de", "français": "fr", "english": "en"}.get(text.split(maxsplit=1)[0])

    rig = build_rig(
        policy=policy(
            safe_completions={"default": {"en": "Let us change the subject.", "de": "Reden wir über etwas anderes."}}
        ),
        name_language=name_language,
    )
    (verdict,) = verdicts(await rig.moderator.moderate([event(f"{response} harm=0.9", prompt=f"{prompt} ...")]))
    assert verdict.response == expected


async def test_the_language_is_asked_for_only_where_a_response_is_rewritten() -> None:
    def name_language(text: str) -> str | None:
        raise AssertionError(text)

    rig = build_rig(policy=policy(tenants={"watched": TenantOverrides(shadow=True)}), name_language=name_language)
    outcomes = await rig.moderator.moderate([event("All is well."), event(HARMFUL, tenant="watched")])
    assert [outcome.action for outcome in verdicts(outcomes)] == [Action.ALLOW, Action.ALLOW]


async def test_in_shadow_mode_nothing_is_rewritten() -> None:
    rig = build_rig(policy=policy(shadow=True), detoxifier=FakeDetoxifier())
    verdict = await _moderate(rig)
    assert verdict.response == HARMFUL
    assert rig.detoxifier is not None
    assert rig.detoxifier.requested == []
