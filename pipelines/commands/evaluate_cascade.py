"""`weir eval cascade`: two detectors one after the other, measured against either alone."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipelines.commands.evaluation_tables import FILE_COLUMNS, format_figure, make_table
from pipelines.commands.exit_statuses import BAD_VALUES, ending_in_one_line
from pipelines.commands.interrupts import EXIT_INTERRUPTED
from pipelines.commands.options import JsonOption
from pipelines.settings import load_settings
from protector_models.detectors.cascade import Band
from protector_models.moderation.errors import ConfigurationError
from protector_models.settings import DetectorSettings

if TYPE_CHECKING:
    from protector_models.detectors.loaded_detector import LoadedDetector
    from protector_models.evaluation.detector.cascade import BandReport, CascadeReport
    from protector_models.records.examples import Example

_TIMEOUT_S = 3_600.0
_HELD_OUT_PERCENT, _SPLIT_SEED = 8, 17
"""As the shipped detector was trained: its held-out slice is cut again."""
_METRICS = {"auroc": "AUROC", "f1": "F1", "tpr_at_1pct_fpr": "TPR at\n1% FPR", "fpr": "FPR"}


def cascade(
    data: Annotated[
        list[Path], typer.Option(help="A record file (.jsonl, .jsonl.gz) or a directory; may be repeated.")
    ],
    more_data: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE_OR_DIR]...", help="Further ones, as in --data a b c.")
    ] = None,
    first: Annotated[
        Path | None,
        typer.Option(help="Configuration file whose `detector` reads everything; default: the shipped bag of words."),
    ] = None,
    second: Annotated[
        Path | None,
        typer.Option(help="Configuration file whose `detector` reads the rest; default: the shipped detector."),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(help="Training data (one directory per set): the band is chosen on the slice that is held out."),
    ] = None,
    band: Annotated[
        tuple[float, float] | None, typer.Option(metavar="LOW HIGH", help="The band, where it is not to be chosen.")
    ] = None,
    max_loss: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="What AUROC and F1 may lose on the held-out slice.")
    ] = 0.005,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each detector.")] = 2,
    max_rows: Annotated[
        int | None,
        typer.Option(min=1, help="Score at most so many labelled rows of each set and of the slice, drawn at random."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put two detectors into a cascade, choose its band on held-out training data, and compare it with either alone.

    The band is the one that sends the fewest held-out answers to the second detector while AUROC and F1 there lose at
    most --max-loss. Data to measure on is never used to choose it: a directory named "eval" is refused as
    --validation. All three are asked in turn, batch by batch, so their times are of the same run. Ctrl-C prints what
    is done. No text of any record is printed or written.

    Exit codes: 0 done; 1 a model is gone; 2 data, configuration or a detector cannot be used; 130 interrupted.
    """
    errors = Console(stderr=True)
    with ending_in_one_line("weir eval cascade", also=BAD_VALUES):
        report, is_whole = asyncio.run(
            _evaluate(
                [*data, *(more_data or ())],
                _choose_detector(first, "bag_of_words"),
                _choose_detector(second, "onnx"),
                band=_Choice(validation=validation, band=band, max_loss=max_loss),
                num_threads=threads,
                max_rows=max_rows,
            )
        )
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print(report)
    if not is_whole:
        errors.print(f"interrupted after {len(report.sets)} sets", markup=False)
        raise typer.Exit(EXIT_INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """How the band comes about: chosen on a slice of training data, or given."""

    validation: Path | None
    band: tuple[float, float] | None
    max_loss: float


def _choose_detector(config: Path | None, default: Literal["bag_of_words", "onnx"]) -> DetectorSettings:
    return DetectorSettings(kind=default) if config is None else load_settings(config).detector


async def _evaluate(
    data: list[Path],
    first_settings: DetectorSettings,
    second_settings: DetectorSettings,
    *,
    band: _Choice,
    num_threads: int,
    max_rows: int | None,
) -> "tuple[CascadeReport, bool]":
    """Returns the report, and whether it has every set: Ctrl-C ends it after the last whole one."""
    # Imported here, not above: the models' libraries take a second, and every other command would pay for them.
    from protector_models.detectors.cascade import CascadeDetector  # noqa: PLC0415
    from protector_models.detectors.choice import load_detector  # noqa: PLC0415
    from protector_models.evaluation.detector import cascade as evaluation  # noqa: PLC0415
    from protector_models.records.record_sets import find_sets, read_rows  # noqa: PLC0415

    if (band.validation is None) == (band.band is None):
        raise ConfigurationError("expected one of --validation and --band")
    # All data is read before any is scored: a fault in the last file shows at once, and the bar knows its end.
    sets = [read_rows(found, max_rows=max_rows) for found in find_sets(data)]
    held_out = [] if band.validation is None else _read_held_out(band.validation, max_rows)
    first, second = (
        load_detector(settings, num_threads=num_threads, timeout_s=_TIMEOUT_S)
        for settings in (first_settings, second_settings)
    )
    reports: dict[str, evaluation.CascadeSetReport] = {}
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        for detector in (first, second):
            detector.warm_up()
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("held-out slice", total=len(held_out) + sum(len(rows.labelled) for rows in sets))

            def advance(num_rows: int) -> None:
                progress.advance(task, num_rows)

            found = await _find_band(band, held_out, first, second, advance)
            cascade = CascadeDetector(first, second, band=Band(low=found.low, high=found.high))
            is_whole = True
            try:
                for rows in sets:
                    progress.update(task, description=rows.name)
                    reports[rows.name] = await evaluation.evaluate_cascade(
                        cascade, first, second, rows, clock=time.perf_counter, report_rows=advance
                    )
            except asyncio.CancelledError:
                is_whole = False
    finally:
        await first.close()
        await second.close()
    report = evaluation.CascadeReport(
        cascade=cascade.revision,
        first=first.revision,
        second=second.revision,
        thresholds={"cascade": cascade.threshold, "first": first.threshold, "second": second.threshold},
        band=found,
        max_rows=max_rows,
        sets=reports,
    )
    return report, is_whole


def _read_held_out(directory: Path, max_rows: int | None) -> "list[Example]":
    from protector_models.records.examples import load_examples  # noqa: PLC0415  # heavy, as above
    from protector_models.training.detector.held_out import select_answers  # noqa: PLC0415

    split = load_examples(directory, validation_percent=_HELD_OUT_PERCENT, seed=_SPLIT_SEED)
    return select_answers(split.validation)[:max_rows]


async def _find_band(
    choice: _Choice,
    held_out: "Sequence[Example]",
    first: "LoadedDetector",
    second: "LoadedDetector",
    advance: Callable[[int], None],
) -> "BandReport":
    from protector_models.detectors.cascade import Alignment  # noqa: PLC0415  # heavy, as above
    from protector_models.evaluation.detector.band_choice import BAND_RULE, choose_band  # noqa: PLC0415
    from protector_models.evaluation.detector.cascade import BandReport, assess_twice  # noqa: PLC0415
    from protector_models.training.detector.held_out import to_exchange  # noqa: PLC0415

    if choice.band is not None:
        low, high = choice.band
        if not 0.0 <= low <= high <= 1.0:
            raise ConfigurationError(f"--band: expected 0 <= LOW <= HIGH <= 1, got {low:g} {high:g}")
        return BandReport(low=low, high=high, rule="given", max_loss=None)
    outcomes = await assess_twice(
        first,
        second,
        [to_exchange(row) for row in held_out],
        [row.harmful == 1.0 for row in held_out],
        report_rows=advance,
    )
    alignment = Alignment.of(
        first_threshold=first.threshold, second_threshold=second.threshold, band=Band(low=0.0, high=1.0)
    )
    found = choose_band(outcomes, alignment, max_loss=choice.max_loss)
    return BandReport(
        low=found.band.low,
        high=found.band.high,
        rule=BAND_RULE,
        max_loss=choice.max_loss,
        n=found.num_rows,
        share_sent_on=found.share_sent_on,
        auroc=found.auroc,
        f1=found.f1,
        second_auroc=found.second_auroc,
        second_f1=found.second_f1,
    )


def _print(report: "CascadeReport") -> None:
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, FILE_COLUMNS)
    console.print(_tabulate_band(report))
    table = make_table("On the sets", "set", "n", "harmful", "detector", *_METRICS.values(), "sent on", "ms/text")
    for name, figures in report.sets.items():
        for label, row in figures.rows.items():
            is_cascade = label == "cascade"
            shares = [format_figure(figures.share_sent_on)] if is_cascade else [""]
            cells = [format_figure(getattr(row, metric), row.intervals[metric]) for metric in _METRICS]
            counts = [str(figures.n), str(figures.harmful)] if is_cascade else ["", ""]
            time_cell = "-" if row.ms_per_text is None else f"{row.ms_per_text:.2f}"
            table.add_row(Text(name if is_cascade else ""), *counts, label, *cells, *shares, time_cell)
        lost = [format_figure(figures.losses[metric], figures.loss_intervals[metric]) for metric in _METRICS]
        table.add_row("", "", "", "second - cascade", *lost, "", "", style="dim", end_section=True)
    console.print(table)


def _tabulate_band(report: "CascadeReport") -> Table:
    band = report.band
    table = Table(title="weir eval cascade", show_header=False)
    for label, revision in (("cascade", report.cascade), ("first", report.first), ("second", report.second)):
        table.add_row(label, Text(f"{revision}, threshold {report.thresholds[label]:g}"))
    table.add_row("band", Text(f"[{band.low:g}, {band.high:g}], {band.rule}"))
    if band.n is not None:
        table.add_row("held-out answers", f"{band.n}, {band.share_sent_on:.1%} sent on (max_loss {band.max_loss:g})")
        table.add_row("cascade there", f"AUROC {band.auroc:.4f}, F1 {band.f1:.4f}")
        table.add_row("second there", f"AUROC {band.second_auroc:.4f}, F1 {band.second_f1:.4f}")
    return table
