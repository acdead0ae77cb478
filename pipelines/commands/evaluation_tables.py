"""An evaluation as tables on a terminal."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from protector_models.evaluation.report import EvaluationReport, SetReport
    from protector_models.records.overlaps import Overlap

_METRICS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "tpr_at_1pct_fpr": "TPR at\n1% FPR",
    "fpr": "FPR",
    "ece": "ECE",
    "within_prompt": "within\nprompt",
}
# The tables need as much; a pipe or a file has no width of its own.
FILE_COLUMNS = 160


def print_report(report: "EvaluationReport") -> None:
    """Prints the figures of every set, and below them whatever else was asked for."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, FILE_COLUMNS)
    console.print(_tabulate_figures(report))
    for name, figures in report.sets.items():
        for table in _tabulate_details(name, figures):
            console.print(table)


def print_overlaps(overlaps: "Sequence[Overlap]") -> None:
    """Prints, for each pair of sets that have texts in common, how many."""
    table = make_table("Texts in both", "training set", "measured on", "texts", "training rows")
    pairs = sorted({(found.training_set, name) for found in overlaps for name in found.evaluation_sets})
    for training_set, name in pairs:
        common = [each for each in overlaps if each.training_set == training_set and name in each.evaluation_sets]
        table.add_row(Text(training_set), Text(name), str(len(common)), str(sum(each.num_rows for each in common)))
    distinct = len({each.text_hash for each in overlaps})
    table.add_row("all, each text once", "", str(distinct), str(sum(each.num_rows for each in overlaps)), style="bold")
    Console().print(table)


def _tabulate_figures(report: "EvaluationReport") -> Table:
    drawn = (
        "" if report.max_rows is None else f", on at most {report.max_rows} rows of each set, drawn with a fixed seed"
    )
    table = make_table(f"{report.detector} at threshold {report.threshold:.3f}{drawn}", "set", "n", "harmful")
    for title in _METRICS.values():
        table.add_column(title, justify="right")
    for name, figures in report.sets.items():
        share = "-" if figures.harmful_share is None else f"{figures.harmful_share:.1%}"
        values = figures.model_dump(include=set(_METRICS))
        cells = [format_figure(values[metric], figures.intervals[metric]) for metric in _METRICS]
        table.add_row(Text(name), str(figures.n), share, *cells, style="bold")
        for row, baseline in figures.baselines.items():
            shown = {metric: format_figure(value) for metric, value in baseline.model_dump().items()}
            table.add_row(Text(f"  {row}"), "", "", *(shown.get(metric, "") for metric in _METRICS), style="dim")
        for guard in figures.published:
            model = guard.model if guard.size is None else f"{guard.model}, {guard.size}"
            table.add_row(Text(f"  {model}"), "", "", format_figure(guard.f1), style="dim italic")
    if any(figures.published for figures in report.sets.values()):
        table.caption = "In italics: F1 of other guards as published, not run here."
    return table


def _tabulate_details(name: str, figures: "SetReport") -> Iterator[Table]:
    if figures.perturbations:
        titles = ("AUROC", "change", "F1", "change", "FPR", "change", "read in part", "no score")
        table = make_table(f"{name}: the judged text perturbed", "perturbation", *titles)
        for row, found in figures.perturbations.items():
            changes = (
                cell
                for value, change in (
                    (found.auroc, found.delta_auroc),
                    (found.f1, found.delta_f1),
                    (found.fpr, found.delta_fpr),
                )
                for cell in (format_figure(value), "-" if change is None else f"{change:+.3f}")
            )
            table.add_row(row, *changes, str(found.partly_read), str(found.failed))
        yield table
    if figures.categories is not None:
        table = make_table(f"{name}: categories", "label", "read as", "n", "AUROC")
        for label, of_label in figures.categories.per.items():
            table.add_row(label, of_label.read_as or "-", str(of_label.n), format_figure(of_label.auroc))
        macro = format_figure(figures.categories.macro_auroc, figures.categories.macro_interval)
        table.add_row("mean of the labels", "", "", macro, style="bold")
        for row, value in figures.categories.baselines.items():
            table.add_row(Text(f"  {row}"), "", "", format_figure(value), style="dim")
        yield table
    if figures.worst:
        table = make_table(f"{name}: worst errors", "record", "label", "score")
        for error in figures.worst:
            table.add_row(Text(error.id), "harmful" if error.label else "safe", format_figure(error.score))
        yield table


def make_table(title: str, first: str, *others: str) -> Table:
    """Makes a table whose first column is of names and the others of figures."""
    table = Table(title=Text(title))
    table.add_column(first)
    for column in others:
        table.add_column(column, justify="right")
    return table


def format_figure(value: float | None, interval: tuple[float, float] | None = None) -> str:
    """Writes a figure, with its interval on a second line."""
    if value is None:
        return "-"
    return f"{value:.3f}" if interval is None else f"{value:.3f}\n{interval[0]:.2f}-{interval[1]:.2f}"
