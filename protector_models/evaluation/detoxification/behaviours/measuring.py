"""Measures the behaviours: rows through the Moderator, and sentences through the edit model alone."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from protector_models.evaluation.detoxification.behaviours.judge_answers import judge_leftovers, judge_odd_input
from protector_models.evaluation.detoxification.behaviours.judge_edits import judge_edits, judge_innocent
from protector_models.evaluation.detoxification.behaviours.judge_needs import judge_innocent_talk, judge_need
from protector_models.evaluation.detoxification.behaviours.judged_rows import JudgedRow, report_kind
from protector_models.evaluation.detoxification.behaviours.moderated_talk import Talk, make_event, moderate_talks
from protector_models.evaluation.detoxification.behaviours.report import BehaviourTable, KindReport
from protector_models.evaluation.detoxification.behaviours.row_files import (
    EDITABLE,
    INNOCENT_SENTENCES,
    LEFTOVERS,
    ODD_INPUTS,
    PEOPLE_IN_NEED,
    SOUNDS_LIKE_CRISIS,
    BehaviourSet,
)
from protector_models.evaluation.detoxification.behaviours.row_forms import (
    EditableRow,
    InnocentRow,
    InnocentTalkRow,
    LeftoversRow,
    NeedRow,
    OddRow,
    RowForm,
)
from protector_models.evaluation.detoxification.bench import Bench, ReportRows
from protector_models.moderation.errors import DependencyError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.verdict import Outcome, Verdict
from protector_models.moderation.wire.halving import moderate_isolating

RowT = TypeVar("RowT", bound=RowForm)
_Measured = tuple[list[JudgedRow], int]
"""Judged rows, and how many ended without."""
_Measure = Callable[[Bench, BehaviourSet, ReportRows], Awaitable[_Measured]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourPlan:
    """What is measured."""

    sets: Sequence[BehaviourSet]
    half: str
    """Whose rows they are: `development`, `test` or `all`."""
    num_shown: int
    """The most rows with a fault that are listed of each set, with texts."""

    def count_steps(self) -> int:
        """Returns how many rows will be reported as done."""
        return sum(len(each.rows) for each in self.sets)


async def measure_behaviours(
    bench: Bench, plan: BehaviourPlan, *, report_set: Callable[[str], None], report_rows: ReportRows
) -> BehaviourTable:
    """Measures each set.

    Args:
        bench: what is measured, and with what.
        plan: the rows.
        report_set: called with the name of the set that is next.
        report_rows: called with the number of rows since the last call.

    Raises:
        DependencyError: a model of the Moderator is gone or late.
    """
    kinds: dict[str, KindReport] = {}
    for each in plan.sets:
        report_set(each.kind)
        began = bench.clock()
        judged, num_failed = await _MEASURES[each.kind](bench, each, report_rows)
        ms = 1_000.0 * (bench.clock() - began)
        kinds[each.kind] = report_kind(
            each,
            judged,
            num_failed=num_failed,
            ms_per_row=ms / len(each.rows) if each.rows else None,
            num_shown=plan.num_shown,
        )
    return BehaviourTable(half=plan.half, kinds=kinds)


async def _measure_leftovers(bench: Bench, found: BehaviourSet, report_rows: ReportRows) -> _Measured:
    rows = _rows_of(found, LeftoversRow)
    talks = [Talk(turns=(row.prompt,), response=row.response) for row in rows]
    outcomes = await moderate_talks(bench.moderator, talks, report_rows=report_rows)
    return _judge(rows, outcomes, judge_leftovers)


async def _measure_needs(bench: Bench, found: BehaviourSet, report_rows: ReportRows) -> _Measured:
    rows = _rows_of(found, NeedRow)
    talks = [Talk(turns=row.turns, response=row.response) for row in rows]
    outcomes = await moderate_talks(bench.moderator, talks, report_rows=report_rows)
    return _judge(rows, outcomes, judge_need)


async def _measure_innocent_talks(bench: Bench, found: BehaviourSet, report_rows: ReportRows) -> _Measured:
    rows = _rows_of(found, InnocentTalkRow)
    talks = [Talk(turns=row.turns, response=row.response) for row in rows]
    outcomes = await moderate_talks(bench.moderator, talks, report_rows=report_rows)
    return _judge(rows, outcomes, judge_innocent_talk)


async def _measure_odd_inputs(bench: Bench, found: BehaviourSet, report_rows: ReportRows) -> _Measured:
    """Measures each alone: what becomes of one, and how long it takes, must not depend on others."""
    judged: list[JudgedRow] = []
    for number, row in enumerate(_rows_of(found, OddRow)):
        event = make_event(Talk(turns=(row.prompt,), response=row.write_response()), event_id=f"odd-{number}")
        began = bench.clock()
        outcome: Outcome | None
        try:
            (outcome,) = await moderate_isolating(bench.moderator, [event])
        except DependencyError:
            # That a model was late on this input is what is asked for.
            outcome = None
        judged.append(judge_odd_input(row, outcome, seconds=bench.clock() - began))
        report_rows(1)
    return judged, sum(not all(row.counted["verdict"]) for row in judged)


async def _measure_innocents(bench: Bench, found: BehaviourSet, report_rows: ReportRows) -> _Measured:
    rows = _rows_of(found, InnocentRow)
    edited = bench.editor.edit([row.text for row in rows])
    report_rows(len(rows))
    judged = [
        judge_innocent(row, text) for row, text in zip(rows, edited, strict=True) if not isinstance(text, ItemFailure)
    ]
    return judged, len(rows) - len(judged)


async def _measure_editable(bench: Bench, found: BehaviourSet, report_rows: ReportRows) -> _Measured:
    rows = _rows_of(found, EditableRow)
    outputs = bench.editor.edit([row.text for row in rows])
    edited = [None if isinstance(text, ItemFailure) or not text.strip() else text for text in outputs]
    judged = judge_edits(rows, edited, bench.judges.texts)
    report_rows(len(rows))
    return judged, 0


_MEASURES: dict[str, _Measure] = {
    LEFTOVERS: _measure_leftovers,
    INNOCENT_SENTENCES: _measure_innocents,
    EDITABLE: _measure_editable,
    PEOPLE_IN_NEED: _measure_needs,
    SOUNDS_LIKE_CRISIS: _measure_innocent_talks,
    ODD_INPUTS: _measure_odd_inputs,
}


def _rows_of(found: BehaviourSet, form: type[RowT]) -> list[RowT]:
    return [row for row in found.rows if isinstance(row, form)]


def _judge(rows: Sequence[RowT], outcomes: Sequence[Outcome], judge: Callable[[RowT, Verdict], JudgedRow]) -> _Measured:
    judged = [judge(row, outcome) for row, outcome in zip(rows, outcomes, strict=True) if isinstance(outcome, Verdict)]
    return judged, len(rows) - len(judged)
