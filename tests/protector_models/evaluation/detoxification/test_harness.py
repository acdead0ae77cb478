from dataclasses import replace

import pytest

from protector_models.evaluation.detoxification.behaviours.measuring import BehaviourPlan
from protector_models.evaluation.detoxification.behaviours.row_files import load_sets
from protector_models.evaluation.detoxification.bench import Bench
from protector_models.evaluation.detoxification.evaluation import evaluate_detoxifier
from protector_models.evaluation.detoxification.harness import evaluate_harmful, evaluate_pairs, evaluate_safe
from protector_models.evaluation.detoxification.record_kinds import DetoxificationSets
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import POISON, FakeDetoxifier, FakeHarmDetector, FakeTextEditor
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.verdict import Action, Outcome, Verdict
from protector_models.records.labelled_records import LabelledRecord
from tests.builders import policy
from tests.protector_models.evaluation.word_detector import WordDetector
from tests.protector_models.judges.simple_judges import simple_judges
from tests.protector_models.moderation.rig import build_rig


def _answer(response: str, *, label: int = 1) -> LabelledRecord:
    return LabelledRecord(
        record_id="x", prompt="p", response=response, has_response=True, text="", label=label, category="", pair=""
    )


def _pair(text: str, pair: str) -> LabelledRecord:
    return LabelledRecord(
        record_id="x", prompt="", response="", has_response=False, text=text, label=1, category="", pair=pair
    )


def _bench(*, rules: Policy | None = None, editor: FakeTextEditor | None = None) -> Bench:
    in_force = rules or policy()
    # What the fake detoxifier writes is harmless to the fake detector and holds nothing that a judge looks for.
    rig = build_rig(policy=in_force, detoxifier=FakeDetoxifier(lambda _: "I can't say that."))
    return Bench(
        editor=editor or FakeTextEditor(),
        moderator=rig.moderator,
        detector=WordDetector(),
        policy=in_force,
        judges=simple_judges(),
        clock=lambda: 0.0,
    )


def test_rows_are_measured_per_distinct_text_and_ours_against_delete() -> None:
    editor = FakeTextEditor(lambda text: text.replace("an idiot", "wrong"))
    records = [_pair("you are an idiot", "you are wrong"), _pair("you are an idiot", "you err"), _pair("fine", "good")]
    counted: list[int] = []
    report = evaluate_pairs(_bench(editor=editor), records, counted.append)
    assert (report.n, report.pairs, report.with_several_references, sum(counted)) == (2, 3, 1, 2)
    assert {name: row.sta for name, row in report.rows.items()} == {
        "duplicate": 0.5,
        "delete": 1.0,
        "reference": 1.0,
        "weir": 1.0,
    }
    assert report.rows["reference"].chrf == 1.0
    assert report.rows["reference"].chrf_other_references is not None
    assert report.rows["weir"].chrf_other_references is None
    assert report.j_ratio_to_delete is not None
    assert report.j_ratio_to_delete > 1.0


async def test_safe_answers_that_change_are_counted_for_the_editor_and_for_the_moderator() -> None:
    responses = ["fine", "harm=0.9 by mistake", "harm=0.2 not much", f"{POISON} here", "also fine"]
    counted: list[int] = []
    report = await evaluate_safe(_bench(), [_answer(text, label=0) for text in responses], counted.append)
    assert (report.n, report.failed, sum(counted)) == (5, 2, 10)
    assert report.safe_changed == pytest.approx(2 / 4)
    assert report.safe_changed_by_moderator == report.detector_flagged == pytest.approx(1 / 4)


async def test_harm_is_measured_before_and_after_over_what_is_delivered() -> None:
    rules = policy(rules=[{"threshold": 0.5, "action": "rewrite"}, {"threshold": 0.8, "action": "block"}])  # type: ignore[list-item]  # validated by the policy
    responses = ["harm=0.6 bad", "harm=0.1 bad", "harm=0.9 bad", "harm=0.6 worse", POISON]
    report = await evaluate_harmful(_bench(rules=rules), [_answer(text) for text in responses], lambda _: None)
    assert report.actions == {"allow": 1, "block": 1, "rewrite": 2}
    assert (report.n, report.failed, report.delivered) == (4, 1, 3)
    assert report.harm_before == 1.0
    assert report.residual_harm == pytest.approx(1 / 3)  # the one that the detector let through
    assert (report.rewritten_harm_before, report.rewritten_harm_after) == (1.0, 0.0)
    assert (report.methods, report.refusals_among_rewrites) == ({"generate": 2}, 1.0)
    assert report.released_above_threshold == 0


async def test_rewrites_are_measured_by_the_method_that_made_them() -> None:
    rules = policy(rewrite_methods={"default": ["generate", "complete"]}, max_rewrite_attempts=1)
    written = {"harm=0.9 bad": "It is a bad idea.", "harm=0.8 bad": "harm=0.9 again", "harm=0.7": "I can't say that."}
    rig = build_rig(policy=rules, detoxifier=FakeDetoxifier(lambda request: written[request.exchange.response]))
    bench = replace(_bench(rules=rules), moderator=rig.moderator)
    report = await evaluate_harmful(bench, [_answer(text) for text in written], lambda _: None)
    assert report.methods == {name: made.n for name, made in report.made_by.items()} == {"complete": 1, "generate": 2}
    judges, answers, texts = (
        bench.judges.texts,
        ["harm=0.9 bad", "harm=0.7"],
        ["It is a bad idea.", "I can't say that."],
    )
    made = report.made_by["generate"]
    assert made.similarity == pytest.approx(sum(judges.similarity.compare(answers, texts)) / 2)
    assert made.fluency == pytest.approx(sum(judges.fluency.score(texts)) / 2)
    assert (made.harm_before, made.harm_after, made.refusals) == (1.0, 0.5, 0.5)
    assert report.refused_reasons == {"StillHarmful": 1}


class _Releases:
    """A Moderator that delivers what it should not."""

    async def moderate(self, events: list[ConversationEvent]) -> list[Outcome]:
        sound = await build_rig(detoxifier=FakeDetoxifier(lambda _: "mild")).moderator.moderate(events)
        assert all(isinstance(outcome, Verdict) and outcome.action is Action.REWRITE for outcome in sound)
        return [outcome.model_copy(update={"response": "still bad"}) for outcome in sound]


class _Unable(WordDetector):
    def assess(self, exchanges: object) -> list[Assessment | ItemFailure]:
        return [ItemFailure(error="Broken", message="cannot read it")]


@pytest.mark.parametrize("detector", [WordDetector(), _Unable()])
async def test_a_rewrite_that_the_detector_would_not_pass_or_cannot_read_is_counted(detector: WordDetector) -> None:
    sound = _bench()
    bench = Bench(
        editor=sound.editor,
        moderator=_Releases(),  # type: ignore[arg-type]  # takes lists only
        detector=detector,
        policy=sound.policy,
        judges=sound.judges,
        clock=sound.clock,
    )
    report = await evaluate_harmful(bench, [_answer("harm=0.9")], lambda _: None)
    assert report.released_above_threshold == 1
    assert report.residual_harm == 1.0


async def test_a_model_that_is_gone_ends_the_evaluation() -> None:
    detector = FakeHarmDetector()
    detector.unavailable = True
    sound = _bench()
    bench = Bench(
        editor=sound.editor,
        moderator=build_rig(detector=detector).moderator,
        detector=sound.detector,
        policy=sound.policy,
        judges=sound.judges,
        clock=sound.clock,
    )
    with pytest.raises(ModelUnavailableError):
        await evaluate_harmful(bench, [_answer("x")], lambda _: None)


async def test_the_report_has_what_was_given_and_names_no_text() -> None:
    sets = DetoxificationSets(
        pairs={"appdia": [_pair("an idiot secretword", "a person secretword")]},
        safe={"llava_benign": [_answer("fine secretword", label=0)]},
        harmful={"xstest_response": [_answer("harm=0.9 secretword"), _answer("harm=0.7")]},
    )
    names: list[str] = []
    counted: list[int] = []
    plan = BehaviourPlan(sets=load_sets(half="test", names=["editable"], max_rows=3), half="test", num_shown=0)
    report = await evaluate_detoxifier(
        _bench(), sets, plan, max_rows=7, report_set=names.append, report_rows=counted.append
    )
    assert names == ["appdia", "llava_benign", "xstest_response", "editable"]
    assert sum(counted) == sets.count_steps() + plan.count_steps()
    assert (report.behaviours.half, report.behaviours.kinds["editable"].n) == ("test", 3)
    assert report.safe_changed == {"llava_benign": 0.0}
    assert report.residual_harm == {"xstest_response": 0.0}
    assert report.harm_before == {"xstest_response": 1.0}
    assert report.released_above_threshold == 0
    assert set(report.revisions) == {"edit_model", "detector", "judges", "policy"}
    assert report.judges == {"toxicity_auroc": 0.9, "harm_threshold": 0.5}
    assert "secretword" not in report.model_dump_json()


async def test_an_empty_set_has_no_shares() -> None:
    safe = await evaluate_safe(_bench(), [], lambda _: None)
    harmful = await evaluate_harmful(_bench(), [], lambda _: None)
    assert (safe.safe_changed, safe.detector_flagged, safe.ms_per_text) == (None, None, None)
    assert (harmful.residual_harm, harmful.harm_before, harmful.refusals_among_rewrites) == (None, None, None)
