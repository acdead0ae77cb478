"""`weir eval`: the models measured on labelled records."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from protector_models.checkpoints import CheckpointError
from protector_models.training.records import RecordError

if TYPE_CHECKING:
    from protector_models.evaluation.harness import EvaluationReport, SetReport

app = typer.Typer(no_args_is_help=True, help="Measure the models on labelled records.")

_SHOWN_METRICS = ("f1", "precision", "recall", "auroc", "tpr_at_1pct_fpr", "fpr")


@app.callback()
def evaluate() -> None:
    """Measure the models on labelled records."""


@app.command()
def detector(
    data: Annotated[
        list[Path], typer.Option(help="A record file (.jsonl, .jsonl.gz) or a directory; may be repeated.")
    ],
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Harmfulness that counts as flagged; default: the card's.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights directory of the detector; default: the one that Weir ships.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Score labelled records with the harm detector: metrics with 95% bootstrap intervals, and the trivial rows.

    Each directory that holds record files is a set under its name; a file given by itself is one too. A metric that a
    set cannot give (one class only, say) is null in JSON and "-" in the table. Rows without a label are counted and not
    scored. A record that is only a prompt is judged as a text standing alone.

    Exit codes: 0 done; 1 the data or the weights cannot be used, and the message names file and line.
    """
    try:
        report = _evaluate(data, threshold=threshold, weights=weights, num_threads=threads)
    except (RecordError, CheckpointError) as error:
        Console(stderr=True).print(f"weir eval detector: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print_tables(report)


def _evaluate(
    data: list[Path], *, threshold: float | None, weights: Path | None, num_threads: int
) -> "EvaluationReport":
    # Imported here, not above: the model's libraries take a second, and every other command would pay for them.
    from protector_models.evaluation import harness  # noqa: PLC0415
    from protector_models.harm_detector import SHIPPED_WEIGHTS, OnnxHarmDetector  # noqa: PLC0415

    sets = harness.find_sets(data)
    judge = OnnxHarmDetector.load(weights or SHIPPED_WEIGHTS, num_threads=num_threads)
    used_threshold = judge.threshold if threshold is None else threshold
    reports: dict[str, SetReport] = {}
    with Progress(console=Console(stderr=True)) as progress:
        for evaluation_set in sets:
            # How many rows a set has is known only after reading it, so the bar counts rows without a total.
            task = progress.add_task(evaluation_set.name, total=None)
            reports[evaluation_set.name] = harness.evaluate_set(
                judge,
                evaluation_set,
                threshold=used_threshold,
                report_rows=lambda num_rows, task=task: progress.advance(task, num_rows),  # type: ignore[misc]  # bound
            )
            progress.remove_task(task)
    return harness.EvaluationReport(detector=judge.revision, threshold=used_threshold, sets=reports)


def _print_tables(report: "EvaluationReport") -> None:
    table = Table(title=f"{report.detector} at threshold {report.threshold:.3f}")
    for column in ("set", "n", "harmful", *_SHOWN_METRICS):
        table.add_column(column, justify="left" if column == "set" else "right")
    for name, figures in report.sets.items():
        values = figures.model_dump()
        cells = [_format(values[metric], figures.intervals[metric]) for metric in _SHOWN_METRICS]
        table.add_row(name, str(figures.n), str(figures.harmful), *cells, style="bold")
        for row, baseline in figures.baselines.items():
            f1, auroc = _format(baseline.f1, None), _format(baseline.auroc, None)
            table.add_row(f"  {row}", "", "", f1, "", "", auroc, "", "", style="dim")
    Console().print(table)


def _format(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
