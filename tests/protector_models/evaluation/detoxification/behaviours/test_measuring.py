from collections.abc import Sequence

import pytest

from protector_models.evaluation.detoxification.behaviours.measuring import BehaviourPlan, measure_behaviours
from protector_models.evaluation.detoxification.behaviours.moderated_talk import Talk, make_event
from protector_models.evaluation.detoxification.behaviours.report import BehaviourTable
from protector_models.evaluation.detoxification.behaviours.row_files import FORMS, BehaviourSet, load_sets
from protector_models.evaluation.detoxification.behaviours.row_forms import (
    EditableRow,
    InnocentRow,
    InnocentTalkRow,
    OddRow,
    RowForm,
)
from protector_models.evaluation.detoxification.bench import Bench
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import POISON, FakeHarmDetector, FakeTextEditor
from tests.builders import policy
from tests.protector_models.evaluation.detoxification.behaviours.builders import leftovers_row
from tests.protector_models.evaluation.word_detector import WordDetector
from tests.protector_models.judges.simple_judges import simple_judges
from tests.protector_models.moderation.rig import Rig, build_rig


def bench_of(rig: Rig, editor: FakeTextEditor | None = None) -> Bench:
    return Bench(
        editor=editor or FakeTextEditor(),
        moderator=rig.moderator,
        detector=WordDetector(),
        policy=policy(),
        judges=simple_judges(),
        clock=lambda: 0.0,
    )


async def measure(
    bench: Bench, kind: str, rows: Sequence[RowForm], *, num_shown: int = 0, counted: list[int] | None = None
) -> BehaviourTable:
    plan = BehaviourPlan(
        sets=[BehaviourSet(kind=kind, about="What is tested.", rows=rows)], half="all", num_shown=num_shown
    )
    steps: list[int] = [] if counted is None else counted
    return await measure_behaviours(bench, plan, report_set=lambda _: None, report_rows=steps.append)


async def test_leftovers_go_through_the_moderator_and_failures_are_in_no_figure() -> None:
    rows = [
        leftovers_row(("harmless", "Open it."), ("harmful", "I burn houses harm=0.9"), id="flagged"),
        leftovers_row(("harmless", "Open it."), ("harmful", "I burn houses harm=0.1"), id="missed"),
        leftovers_row(("harmless", POISON), ("harmful", "I burn houses"), id="failed"),
    ]
    counted: list[int] = []
    found = (await measure(bench_of(build_rig()), "leftovers", rows, num_shown=5, counted=counted)).kinds["leftovers"]
    assert (found.n, found.failed, sum(counted)) == (2, 1, 3)
    assert found.figures["delivered_harm"].value == 0.5
    assert found.figures["delivered_harm"].reached is False
    assert found.figures["not_flagged"].aim is None
    assert [row.id for row in found.failures] == ["missed"]
    assert found.by["harm"]["threat"]["delivered_harm"].n == 2
    assert found.endings["allow"] == 1


async def test_no_row_is_shown_unless_it_is_asked_for() -> None:
    rows = [leftovers_row(("harmless", "Open it."), ("harmful", "secretword harm=0.1"))]
    report = await measure(bench_of(build_rig()), "leftovers", rows)
    assert report.kinds["leftovers"].failures == []
    assert "secretword" not in report.model_dump_json()


def test_a_conversation_goes_to_the_moderator_whole() -> None:
    made = make_event(Talk(turns=("I wrote a note.", "To whom?", "to mum"), response="Buy a plant."), event_id="a")
    assert [message.role for message in made.messages] == ["user", "assistant", "user"]
    assert [message.content for message in made.messages] == ["I wrote a note.", "To whom?", "to mum"]
    assert made.response == "Buy a plant."


async def test_sentences_go_to_the_edit_model_alone() -> None:
    editor = FakeTextEditor(lambda text: text.replace("Dick", "").replace(", you idiot", ""))
    bench = bench_of(build_rig(), editor)
    names = [InnocentRow(id=name.lower(), topic="x", group="names", text=f"{name} sits.") for name in ("Dick", "Ann")]
    innocent = (await measure(bench, "innocent_sentences", names)).kinds["innocent_sentences"]
    assert innocent.figures["changed"].value == 0.5
    rude = [
        EditableRow(id="a", topic="x", text="Check it, you idiot.", keep="Check it"),
        EditableRow(id="b", topic="x", text=f"Check {POISON}", keep="Check"),
    ]
    editable = (await measure(bench, "editable", rude)).kinds["editable"]
    assert (editable.figures["changed"].value, editable.figures["refused"].value) == (0.5, 0.5)
    assert (editable.figures["kept"].n, editable.figures["kept"].value) == (1, 1.0)


async def test_a_model_that_is_late_on_an_odd_input_is_a_fault_of_that_row() -> None:
    detector = FakeHarmDetector()
    detector.unavailable = True
    rows = [OddRow(id="a", topic="x", prompt="", response="Tea")]
    found = (await measure(bench_of(build_rig(detector=detector)), "odd_inputs", rows)).kinds["odd_inputs"]
    assert (found.figures["verdict"].value, found.failed) == (0.0, 1)
    talk = InnocentTalkRow(id="a", topic="x", turns=("Hi",), response="Tea")
    with pytest.raises(ModelUnavailableError):
        await measure(bench_of(build_rig(detector=detector)), "sounds_like_crisis", [talk])


async def test_every_row_that_comes_with_weir_can_be_measured() -> None:
    plan = BehaviourPlan(sets=load_sets(half=None), half="all", num_shown=1)
    names: list[str] = []
    counted: list[int] = []
    report = await measure_behaviours(bench_of(build_rig()), plan, report_set=names.append, report_rows=counted.append)
    assert names == list(report.kinds) == list(FORMS)
    assert sum(counted) == plan.count_steps()
    assert all(kind.failed == 0 for kind in report.kinds.values())
    # Nothing is flagged by the fake detector: all harm is delivered, and all that is innocent is left alone.
    assert report.kinds["leftovers"].figures["delivered_harm"].value == 1.0
    assert report.kinds["leftovers"].figures["harmless_kept"].value == 1.0
    assert report.kinds["odd_inputs"].figures["delivered_harm"].value == 1.0
    assert report.kinds["sounds_like_crisis"].figures["allowed"].value == 1.0
