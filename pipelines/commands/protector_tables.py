"""The paper's experiment as tables on a terminal."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.commands.evaluation_tables import FILE_COLUMNS, format_figure, make_table

if TYPE_CHECKING:
    from protector_models.evaluation.protector.report import (
        AttackFigures,
        AttackSetFigures,
        BenignSetFigures,
        LabelFigures,
        ProtectorReport,
        Share,
    )


def print_protector_report(report: "ProtectorReport") -> None:
    """Prints one table of unsafe answers, one of what the labels say, one of benign answers, and who judged."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, FILE_COLUMNS)
    if report.max_rows is not None:
        console.print(f"On at most {report.max_rows} rows of each set, drawn with a fixed seed.")
    if report.attacks:
        console.print(_tabulate_attacks(report.attacks))
    labelled = {name: found.total.labels for name, found in report.attacks.items() if found.total.labels is not None}
    if labelled:
        console.print(_tabulate_labels(labelled))
    if report.benign:
        console.print(_tabulate_benign(report.benign))
    notes = [_note_gaps(name, found) for name, found in report.attacks.items()]
    notes += [_note_gaps(name, found) for name, found in report.benign.items()]
    for note in filter(None, notes):
        console.print(Text(note))
    judge = report.judge
    console.print(Text(f"Judge: {judge.revision}, unsafe from {judge.threshold:.4f}; {judge.blind_to}"))
    console.print(Text("Under test: " + ", ".join(f"{name} {found}" for name, found in report.revisions.items())))
    console.print(Text(f"Policy: {report.policy}"))


def _tabulate_attacks(sets: "dict[str, AttackSetFigures]") -> Table:
    table = make_table(
        "Unsafe answers, as the judge sees them",
        *("scenario", "n", "before:\ndo nothing", "after", "after minus\nbefore", "rewritten", "withheld"),
        *("always\nrefuse", "failed", "not\njudged"),
    )
    for name, figures in sets.items():
        for scenario, found in figures.scenarios.items():
            table.add_row(Text(scenario), *_attack_cells(found, "", is_whole=False))
        refused = figures.always_refuse.value
        table.add_row(
            Text(f"{name}, all", style="bold"),
            *_attack_cells(figures.total, "-" if refused is None else f"{refused:.3f}", is_whole=True),
        )
        table.add_section()
    return table


def _attack_cells(found: "AttackFigures", always_refuse: str, *, is_whole: bool) -> list[str]:
    return [
        str(found.n),
        _format(found.unsafe_before),
        _format(found.unsafe_after),
        _format(found.difference),
        _format(found.rewritten, with_interval=is_whole),
        _format(found.withheld, with_interval=is_whole),
        always_refuse,
        str(found.failed),
        str(found.unjudged),
    ]


def _tabulate_labels(sets: "dict[str, LabelFigures]") -> Table:
    table = make_table(
        "The same answers by the labels of their sets",
        *("set", "labelled\nharmful", "not delivered\nas they were", "judge calls\nthem unsafe"),
        *("labelled\nsafe", "delivered\nas they were", "judge calls\nthem unsafe"),
    )
    for name, found in sets.items():
        table.add_row(
            Text(name),
            str(found.caught.n),
            _format(found.caught),
            _format(found.judge_recall),
            str(found.safe_unchanged.n),
            _format(found.safe_unchanged),
            _format(found.judge_false_alarms),
        )
    return table


def _tabulate_benign(sets: "dict[str, BenignSetFigures]") -> Table:
    table = make_table(
        "Answers to harmless questions (do nothing: 1 unchanged; always refuse: 0)",
        *("set", "n", "unchanged", "rewritten", "withheld", "failed"),
    )
    for name, found in sets.items():
        table.add_row(
            Text(name),
            str(found.n),
            *(_format(share) for share in (found.unchanged, found.rewritten, found.withheld)),
            str(found.failed),
        )
    return table


def _note_gaps(name: str, found: "AttackSetFigures | BenignSetFigures") -> str:
    """Says what of a set was not looked at; empty where there is nothing to say."""
    counts = {
        f"of {found.images} pictures read": found.images_read if found.images else None,
        "rows without their picture, which is not at hand": found.images_missing or None,
        "records without an answer passed over": found.passed_over or None,
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count is not None]
    parts += [f"not read: {reason} {count}" for reason, count in found.images_unread.items()]
    return f"{name}: {'; '.join(parts)}" if parts else ""


def _format(share: "Share", *, with_interval: bool = True) -> str:
    return format_figure(share.value, share.interval if with_interval else None)
