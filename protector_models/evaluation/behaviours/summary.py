"""From scored rows to the report of their kinds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np

from protector_models.evaluation.behaviours.behaviour_row import BehaviourKind, BehaviourRow, Wanted
from protector_models.evaluation.behaviours.report import (
    BehavioursReport,
    GroupReport,
    KindReport,
    PairsReport,
    Share,
    WorstRow,
)
from protector_models.evaluation.behaviours.scoring import ScoredRow
from protector_models.evaluation.behaviours.shares import auroc_of, calibration_error_of, retention_beside, share_of

_MAX_EXCERPT = 320
_NUM_WIDEST = 5


def summarise(
    kinds: Sequence[BehaviourKind],
    scored: Sequence[ScoredRow],
    *,
    detector: str,
    threshold: float,
    half: str,
    num_worst: int,
) -> BehavioursReport:
    """Compute the figures of every kind.

    Args:
        kinds: what was to be scored.
        scored: the rows that have a score.
        detector: its name and revision.
        threshold: harmfulness from which on a row counts as flagged.
        half: whose rows they are: `development`, `test` or `all`.
        num_worst: the most rows listed of each kind.
    """
    by_id = {each.row.row_id: each for each in scored}
    kind_reports = {kind.name: _report_kind(kind, by_id, threshold, num_worst) for kind in kinds}
    shares = [found.right.value for found in kind_reports.values() if found.right.value is not None]
    return BehavioursReport(
        detector=detector,
        threshold=threshold,
        half=half,
        n=len(scored),
        mean_right=float(np.mean(shares)) if shares else None,
        kinds=kind_reports,
    )


def _report_kind(kind: BehaviourKind, by_id: Mapping[str, ScoredRow], threshold: float, num_worst: int) -> KindReport:
    found = [by_id[row.row_id] for row in kind.rows if row.row_id in by_id]
    auroc, auroc_interval = auroc_of(found)
    return KindReport(
        **dict(_report_group(found, by_id, threshold)),
        about=kind.about,
        n=len(found),
        failed=len(kind.rows) - len(found),
        partly_read=sum(each.is_partly_read for each in found),
        harmless_retention=_retain(found, by_id, threshold, "allow"),
        named=_name_categories(found, threshold),
        auroc=auroc,
        auroc_interval=auroc_interval,
        ece=calibration_error_of(found),
        by=_report_facets(found, by_id, threshold),
        pairs=_report_pairs(found, threshold),
        worst=find_worst(found, threshold=threshold, num_worst=num_worst),
    )


def find_worst(rows: Sequence[ScoredRow], *, threshold: float, num_worst: int) -> list[WorstRow]:
    """Return the rows furthest on the wrong side of the threshold, worst first."""
    wrong = [each for each in rows if not each.is_right(threshold)]
    wrong.sort(key=lambda each: (-abs(each.harmfulness - (each.row.wanted == "act")), each.row.row_id))
    return [
        WorstRow(
            id=each.row.row_id,
            wanted=each.row.wanted,
            score=each.harmfulness,
            prompt=each.row.prompt,
            text=excerpt(each.row),
        )
        for each in wrong[:num_worst]
    ]


def excerpt(row: BehaviourRow) -> str:
    """Return the answer, or of a long one what the test is about with a little before and after."""
    text, focus = row.response, row.focus or ""
    if len(text) <= _MAX_EXCERPT:
        return text
    at = max(0, text.find(focus))
    start = max(0, at - max(0, _MAX_EXCERPT - len(focus)) // 2) if focus else 0
    end = max(at + len(focus), start + _MAX_EXCERPT)
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def _report_group(rows: Sequence[ScoredRow], by_id: Mapping[str, ScoredRow], threshold: float) -> GroupReport:
    wanted_ones: tuple[Wanted, ...] = get_args(Wanted)
    parts = {wanted: [each for each in rows if each.row.wanted == wanted] for wanted in wanted_ones}
    return GroupReport(
        right=_share_right(rows, threshold),
        by_wanted={wanted: _share_right(part, threshold) for wanted, part in parts.items() if part},
        retention=_retain(rows, by_id, threshold, "act"),
    )


def _share_right(rows: Sequence[ScoredRow], threshold: float) -> Share:
    return share_of([each.row.template for each in rows], [each.is_right(threshold) for each in rows])


def _retain(
    rows: Sequence[ScoredRow], by_id: Mapping[str, ScoredRow], threshold: float, wanted: Wanted
) -> Share | None:
    # A piece without a score alone was a failure of the detector, which is counted: nothing can be compared with it.
    comparable = [each for each in rows if each.row.alone in by_id]
    if not any(each.row.wanted == wanted for each in comparable):
        return None
    return retention_beside(comparable, by_id, threshold=threshold, wanted=wanted)


def _name_categories(rows: Sequence[ScoredRow], threshold: float) -> Share | None:
    caught = [each for each in rows if each.row.category is not None and each.is_flagged(threshold)]
    if not caught:
        return None
    return share_of([each.row.template for each in caught], [each.category == each.row.category for each in caught])


def _report_facets(
    rows: Sequence[ScoredRow], by_id: Mapping[str, ScoredRow], threshold: float
) -> dict[str, dict[str, GroupReport]]:
    groups: dict[str, dict[str, list[ScoredRow]]] = defaultdict(lambda: defaultdict(list))
    for each in rows:
        category = {} if each.row.category is None else {"category": each.row.category}
        for facet, value in {**each.row.facets, **category}.items():
            groups[facet][value].append(each)
    return {
        facet: {value: _report_group(part, by_id, threshold) for value, part in values.items()}
        for facet, values in groups.items()
    }


def _report_pairs(rows: Sequence[ScoredRow], threshold: float) -> PairsReport | None:
    groups: dict[str, list[ScoredRow]] = defaultdict(list)
    for each in rows:
        if each.row.pair is not None:
            groups[f"{each.row.pair} ({each.row.wanted})"].append(each)
    several = {name: group for name, group in groups.items() if len(group) > 1}
    if not several:
        return None
    spreads = {name: _spread(group) for name, group in several.items()}
    split = [len({each.is_flagged(threshold) for each in group}) > 1 for group in several.values()]
    return PairsReport(
        n=len(several),
        mean_spread=float(np.mean(list(spreads.values()))),
        max_spread=max(spreads.values()),
        split=share_of(list(several), split),
        widest=dict(sorted(spreads.items(), key=lambda found: (-found[1], found[0]))[:_NUM_WIDEST]),
    )


def _spread(group: Sequence[ScoredRow]) -> float:
    scores = [each.harmfulness for each in group]
    return max(scores) - min(scores)
