"""Behaviour tests as tables on a terminal."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.commands.evaluation_tables import FILE_COLUMNS, format_figure, make_table

if TYPE_CHECKING:
    from protector_models.evaluation.behaviours.report import BehavioursReport, GroupReport, KindReport, Share


def print_behaviours(report: "BehavioursReport") -> None:
    """Prints the figures of every kind, and below them by facet, by pair, and the worst rows."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, FILE_COLUMNS)
    console.print(_tabulate_kinds(report))
    for name, figures in report.kinds.items():
        for table in _tabulate_details(name, figures):
            console.print(table)


def _tabulate_kinds(report: "BehavioursReport") -> Table:
    half = "both halves" if report.half == "all" else f"the {report.half} half"
    title = f"{report.detector} at threshold {report.threshold:.3f}, {half}"
    titles = ("n", "right", "allow\nwanted", "act\nwanted", "retention", "harmless\nretention", "named", "AUROC", "ECE")
    table = make_table(title, "kind", *titles)
    for name, found in report.kinds.items():
        table.add_row(
            Text(name),
            str(found.n),
            _format(found.right),
            _format(found.by_wanted.get("allow")),
            _format(found.by_wanted.get("act")),
            _format(found.retention),
            _format(found.harmless_retention),
            _format(found.named),
            format_figure(found.auroc, found.auroc_interval),
            format_figure(found.ece),
        )
    table.add_row("mean of the kinds", str(report.n), format_figure(report.mean_right), style="bold")
    failed = sum(found.failed for found in report.kinds.values())
    partly_read = sum(found.partly_read for found in report.kinds.values())
    table.caption = f"{failed} rows without a score, {partly_read} read in part"
    return table


def _tabulate_details(name: str, figures: "KindReport") -> Iterator[Table]:
    for facet, groups in figures.by.items():
        if len(groups) > 1:
            yield _tabulate_facet(f"{name} by {facet}", facet, groups)
    if figures.pairs is not None:
        pairs = figures.pairs
        table = make_table(f"{name}: pairs, by the spread of their scores", "pair", "spread")
        split = format_figure(pairs.split.value)
        table.caption = f"{pairs.n} pairs, mean spread {pairs.mean_spread:.3f}; share flagged in part {split}"
        for pair, spread in pairs.widest.items():
            table.add_row(Text(pair), f"{spread:.3f}")
        yield table
    if figures.worst:
        table = make_table(f"{name}: worst rows", "row")
        for title in ("wanted", "score", "answer"):
            table.add_column(title)
        for row in figures.worst:
            table.add_row(Text(row.id), row.wanted, f"{row.score:.3f}", Text(row.text))
        yield table


def _tabulate_facet(title: str, facet: str, groups: "Mapping[str, GroupReport]") -> Table:
    table = make_table(title, facet, "n", "right", "allow wanted", "act wanted", "retention")
    for value, found in groups.items():
        parts = (found.right, found.by_wanted.get("allow"), found.by_wanted.get("act"), found.retention)
        table.add_row(Text(value), str(found.right.n), *(_format(part, is_inline=True) for part in parts))
    return table


def _format(share: "Share | None", *, is_inline: bool = False) -> str:
    if share is None:
        return "-"
    shown = format_figure(share.value, share.interval)
    return shown.replace("\n", "  ") if is_inline else shown
