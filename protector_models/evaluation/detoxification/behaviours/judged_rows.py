"""Rows after they were measured, and the report of a kind that is made of them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from protector_models.evaluation.behaviours.report import Share
from protector_models.evaluation.behaviours.shares import share_of
from protector_models.evaluation.detoxification.behaviours.aims import AIMS, FIGURES
from protector_models.evaluation.detoxification.behaviours.report import FailedRow, Figure, KindReport
from protector_models.evaluation.detoxification.behaviours.row_files import BehaviourSet
from protector_models.moderation.even_sampling import sample_evenly

_MAX_SHOWN = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRow:
    """What was found out about a row."""

    row_id: str
    counted: Mapping[str, Sequence[bool]]
    """By figure: what the row adds to its share, one value for each sentence or one for the row; nothing where the
    figure is not of this row."""
    fault: str | None
    """What is not as it is wanted; None where all is."""
    prompt: str
    before: str
    after: str | None
    """None: nothing was delivered."""
    facets: Mapping[str, str] = field(default_factory=dict)
    """What tables are made by: name and value."""
    ending: str | None = None
    """How it ended, for counting; None where that says nothing."""


def report_kind(
    rows: BehaviourSet, judged: Sequence[JudgedRow], *, num_failed: int, ms_per_row: float | None, num_shown: int
) -> KindReport:
    """Computes the figures of a kind.

    Args:
        rows: its rows.
        judged: those of them that ended with a verdict or an edit.
        num_failed: how many did not.
        ms_per_row: how long one took, in batches.
        num_shown: the most rows with a fault that are listed, evenly from all of them.
    """
    aims = AIMS[rows.kind]
    figures = {name: _share(judged, name) for name in FIGURES[rows.kind]}
    faulty = [row for row in judged if row.fault is not None]
    return KindReport(
        about=rows.about,
        n=len(judged),
        failed=num_failed,
        ms_per_row=ms_per_row,
        figures={
            name: Figure(
                **dict(share),
                aim=aims[name].tell() if name in aims else None,
                reached=aims[name].is_reached(share.value) if name in aims and share.value is not None else None,
            )
            for name, share in figures.items()
        },
        by=_report_facets(judged, FIGURES[rows.kind]),
        endings=_count_endings(judged),
        failures=[
            FailedRow(
                id=row.row_id,
                fault=row.fault or "",
                prompt=_cut(row.prompt),
                before=_cut(row.before),
                after=None if row.after is None else _cut(row.after),
            )
            for row in (faulty[place] for place in (sample_evenly(len(faulty), num_shown) if num_shown else []))
        ],
    )


def _share(rows: Sequence[JudgedRow], figure: str) -> Share:
    values = [(row.row_id, value) for row in rows for value in row.counted.get(figure, ())]
    return share_of([row_id for row_id, _ in values], [value for _, value in values])


def _report_facets(rows: Sequence[JudgedRow], figures: Sequence[str]) -> dict[str, dict[str, dict[str, Share]]]:
    groups: dict[str, dict[str, list[JudgedRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for facet, value in row.facets.items():
            groups[facet][value].append(row)
    return {
        facet: {
            value: {name: share for name in figures if (share := _share(part, name)).n}
            for value, part in sorted(values.items())
        }
        for facet, values in groups.items()
    }


def _count_endings(rows: Sequence[JudgedRow]) -> dict[str, int]:
    return dict(sorted(Counter(row.ending for row in rows if row.ending is not None).items()))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
