"""An evaluation of the detoxifier as tables on a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.commands.evaluation_tables import FILE_COLUMNS, format_figure, make_table

if TYPE_CHECKING:
    from protector_models.evaluation.detoxification.behaviours.report import BehaviourTable, KindReport
    from protector_models.evaluation.detoxification.report import (
        DetoxifierReport,
        HarmfulSetReport,
        PairSetReport,
        SafeSetReport,
    )

_ROW_FIGURES = {
    "sta": "STA",
    "sim": "SIM",
    "chrf": "ChrF",
    "chrf_cased": "ChrF,\ncased",
    "fluency": "fluency",
    "j": "J",
    "j_fluency": "J x fluency",
    "edit_rate": "edits\nper word",
    "changed": "changed",
}


def print_detoxifier_report(report: "DetoxifierReport") -> None:
    """Prints one table for each kind of set that was measured, then the judges and the revisions."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, FILE_COLUMNS)
    if report.max_rows is not None:
        console.print(f"On at most {report.max_rows} texts of each set, drawn with a fixed seed.")
    for name, pairs in report.sets.items():
        console.print(_tabulate_pairs(name, pairs))
    if report.safe_sets:
        console.print(_tabulate_safe(report.safe_sets))
    if report.harmful_sets:
        console.print(_tabulate_harmful(report.harmful_sets))
        console.print(_tabulate_methods(report.harmful_sets))
        console.print(f"Rewrites released above the policy's threshold: {report.released_above_threshold}")
    console.print(_tabulate_behaviours(report.behaviours))
    for name, kind in report.behaviours.kinds.items():
        for table in _tabulate_details(name, kind):
            console.print(table)
    console.print(_tabulate_names("The judges, on texts held out of their training", report.judges))
    console.print(_tabulate_names("Revisions", report.revisions))


def _tabulate_pairs(name: str, found: "PairSetReport") -> Table:
    table = make_table(
        f"{name}: {found.n} toxic texts with {found.pairs} human rewrites", "row", *_ROW_FIGURES.values()
    )
    for row, figures in found.rows.items():
        values = figures.model_dump(include=set(_ROW_FIGURES))
        cells = (format_figure(values[figure], figures.intervals[figure]) for figure in _ROW_FIGURES)
        table.add_row(Text(row), *cells)
    reference = found.rows["reference"].chrf_other_references
    table.caption = (
        f"J of weir over J of delete: {format_figure(found.j_ratio_to_delete, found.j_ratio_interval)}. "
        f"ChrF of the first reference against the others, where there are several: {format_figure(reference)}. "
        f"Edit model: {_milliseconds(found.ms_per_text)} a text, {found.failed} failed."
    ).replace("\n", ", ")
    return table


def _tabulate_safe(sets: "dict[str, SafeSetReport]") -> Table:
    titles = (
        "n",
        "changed by the\nedit model",
        "changed by the\nModerator",
        "flagged by the\ndetector",
        "failed",
        "a text",
    )
    table = make_table("Harmless answers", "set", *titles)
    for name, found in sets.items():
        table.add_row(
            Text(name),
            str(found.n),
            format_figure(found.safe_changed, found.safe_changed_interval),
            format_figure(found.safe_changed_by_moderator),
            format_figure(found.detector_flagged),
            str(found.failed),
            _milliseconds(found.ms_per_text),
        )
    return table


def _tabulate_harmful(sets: "dict[str, HarmfulSetReport]") -> Table:
    titles = (
        "n",
        "harm\nbefore",
        "residual\nharm",
        "rewritten:\nbefore",
        "rewritten:\nafter",
        "refusals\namong them",
        "actions",
        "methods",
        "last refused try",
        "failed",
        "a text",
    )
    table = make_table("Harmful answers through the whole Moderator, by the judge of harm", "set", *titles)
    for name, found in sets.items():
        table.add_row(
            Text(name),
            str(found.n),
            format_figure(found.harm_before),
            format_figure(found.residual_harm, found.residual_harm_interval),
            format_figure(found.rewritten_harm_before),
            format_figure(found.rewritten_harm_after),
            format_figure(found.refusals_among_rewrites),
            *(_list_counts(counts) for counts in (found.actions, found.methods, found.refused_reasons)),
            str(found.failed),
            _milliseconds(found.ms_per_text),
        )
    return table


def _tabulate_methods(sets: "dict[str, HarmfulSetReport]") -> Table:
    titles = ("rewrites", "similarity\nto the answer", "fluency", "harm\nbefore", "harm\nafter", "refusals")
    table = make_table("Delivered rewrites by the method that made them", "set", "method", *titles)
    for name, found in sets.items():
        for method, made in found.made_by.items():
            shares = (made.similarity, made.fluency, made.harm_before, made.harm_after, made.refusals)
            table.add_row(Text(name), method, str(made.n), *(format_figure(share) for share in shares))
    return table


def _tabulate_behaviours(found: "BehaviourTable") -> Table:
    half = "both halves" if found.half == "all" else f"the {found.half} half"
    table = make_table(f"Behaviours, {half}", "behaviour", "figure", "rows", "share", "interval", "aim", "reached")
    for name, kind in found.kinds.items():
        for place, (figure, share) in enumerate(kind.figures.items()):
            low_high = "-" if share.interval is None else f"{share.interval[0]:.2f}-{share.interval[1]:.2f}"
            table.add_row(
                Text(f"{name} ({kind.n})" if place == 0 else ""),
                figure,
                str(share.n),
                format_figure(share.value),
                low_high,
                share.aim or "-",
                "-" if share.reached is None else "yes" if share.reached else "NO",
                end_section=place == len(kind.figures) - 1,
            )
    failed = sum(kind.failed for kind in found.kinds.values())
    table.caption = f"{failed} rows ended without a verdict or an edit. Only the development half may choose anything."
    return table


def _tabulate_details(name: str, kind: "KindReport") -> Iterator[Table]:
    for facet, groups in kind.by.items():
        shown = [figure for figure in kind.figures if any(figure in shares for shares in groups.values())]
        table = make_table(f"{name} by {facet}", facet, *shown)
        for value, shares in groups.items():
            cells = (f"{format_figure(shares[f].value)} of {shares[f].n}" if f in shares else "-" for f in shown)
            table.add_row(Text(value), *cells)
        yield table
    if kind.endings:
        table = make_table(f"{name}: how rows ended", "ending", "rows")
        for ending, num_rows in kind.endings.items():
            table.add_row(Text(ending), str(num_rows))
        yield table
    if kind.failures:
        table = Table(title=Text(f"{name}: rows that did not end as wanted"), show_lines=True)
        for title in ("row", "fault", "prompt", "before", "after"):
            table.add_column(title)
        for row in kind.failures:
            after = "(nothing)" if row.after is None else row.after
            table.add_row(*(Text(cell) for cell in (row.id, row.fault, row.prompt, row.before, after)))
        yield table


def _tabulate_names(title: str, values: "dict[str, str] | dict[str, float | int | None]") -> Table:
    table = Table(title=title, show_header=False)
    for name, value in values.items():
        table.add_row(Text(name), "-" if value is None else str(value))
    return table


def _list_counts(counts: dict[str, int]) -> str:
    return "\n".join(f"{name} {count}" for name, count in counts.items()) or "-"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
