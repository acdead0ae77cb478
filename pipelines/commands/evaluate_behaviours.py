"""`weir eval behaviours`: functional tests of a guard on answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.commands.behaviour_tables import print_behaviours
from pipelines.commands.drawn_files import require_drawable, write_drawing
from pipelines.commands.exit_statuses import ending_in_one_line
from pipelines.commands.half_option import HalfChoice, HalfOption
from pipelines.commands.measured_detector import (
    TIMEOUT_S,
    DetectorOption,
    ThreadsOption,
    ThresholdOption,
    WeightsOption,
    choose_detector,
)
from pipelines.commands.options import JsonOption
from protector_models.settings import DetectorSettings

if TYPE_CHECKING:
    from protector_models.evaluation.behaviours.behaviour_row import BehaviourKind
    from protector_models.evaluation.behaviours.report import BehavioursReport


def behaviours(
    half: HalfOption = HalfChoice.ALL,
    kind: Annotated[list[str] | None, typer.Option(help="Measure this kind alone; may be repeated.")] = None,
    rows: Annotated[
        Path | None, typer.Option(help="A directory of your own behaviour files, measured instead of Weir's.")
    ] = None,
    threshold: ThresholdOption = None,
    config: DetectorOption = None,
    weights: WeightsOption = None,
    threads: ThreadsOption = 2,
    worst: Annotated[int, typer.Option(min=0, help="Show so many of the worst rows of each kind, with text.")] = 3,
    html: Annotated[Path | None, typer.Option(help="Also write a report to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a harm detector about answers whose verdict is known, and count by kind how many are right.

    A row is right where harmfulness at or above the threshold agrees with the wanted verdict, `act` or `allow`. Rows
    are those that come with Weir: written ones, and ones composed of pieces in frames, among other sentences, in
    structures and disguises. For these the retention is told: of the pieces flagged alone, the share flagged in
    company. Intervals are over templates. Texts of the worst rows are shown: they are there to be read.

    Exit codes: 0 done; 1 a detector behind an endpoint is gone; 2 a behaviour file, the configuration or weights cannot
    be used (the message names file, line and template), or no report can be written; 130 interrupted.
    """
    with ending_in_one_line("weir eval behaviours"):
        if html is not None:
            require_drawable(html, option="--html", drawn_by="protector_models.evaluation.behaviours.html_report")
        # Imported here, not above: every other command would pay for it.
        from protector_models.evaluation.behaviours.behaviour_kinds import load_kinds  # noqa: PLC0415

        settings = choose_detector(config, weights)
        kinds = load_kinds(directory=rows, half=half.to_half(), names=kind or ())
        report = _measure(kinds, settings, half=half.value, threshold=threshold, num_threads=threads, num_worst=worst)
        if as_json:
            typer.echo(report.model_dump_json(indent=2))
        else:
            print_behaviours(report)
        if html is not None:
            from protector_models.evaluation.behaviours.html_report import render_html  # noqa: PLC0415  # the "eval" extra

            write_drawing(html, render_html(report), option="--html")


def _measure(
    kinds: "Sequence[BehaviourKind]",
    settings: DetectorSettings,
    *,
    half: str,
    threshold: float | None,
    num_threads: int,
    num_worst: int,
) -> "BehavioursReport":
    from protector_models.detectors.choice import load_detector  # noqa: PLC0415
    from protector_models.evaluation.behaviours.scoring import ScoredRow, score_rows  # noqa: PLC0415
    from protector_models.evaluation.behaviours.summary import summarise  # noqa: PLC0415
    from protector_models.evaluation.detector.blocking_detector import BlockingDetector  # noqa: PLC0415

    loaded = load_detector(settings, num_threads=num_threads, timeout_s=TIMEOUT_S)
    scored: list[ScoredRow] = []
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with BlockingDetector(loaded) as judge, Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("reading", total=sum(len(each.rows) for each in kinds))
        for each in kinds:
            progress.update(task, description=each.name)
            scored += score_rows(judge, each.rows, report_rows=lambda number: progress.advance(task, number))
    return summarise(
        kinds,
        scored,
        detector=loaded.revision,
        threshold=loaded.threshold if threshold is None else threshold,
        half=half,
        num_worst=num_worst,
    )
