"""`weir eval`: the models measured on labelled records."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.commands.drawn_files import require_drawable, write_drawing
from pipelines.commands.evaluate_behaviours import behaviours
from pipelines.commands.evaluate_cascade import cascade
from pipelines.commands.evaluate_detoxifier import blind_pairs, detoxifier
from pipelines.commands.evaluate_images import images
from pipelines.commands.evaluate_protector import protector
from pipelines.commands.evaluation_tables import print_overlaps, print_report
from pipelines.commands.exit_statuses import BAD_FILES, ending_in_one_line
from pipelines.commands.measured_detector import (
    TIMEOUT_S,
    DetectorOption,
    ThreadsOption,
    ThresholdOption,
    WeightsOption,
    choose_detector,
)
from protector_models.checkpoints.cards import CheckpointCard
from protector_models.settings import DetectorSettings

if TYPE_CHECKING:
    from protector_models.evaluation.detector.baselines import BaselineJudge
    from protector_models.evaluation.detector.harness import EvaluatedSet
    from protector_models.evaluation.report import EvaluationReport

app = typer.Typer(no_args_is_help=True, help="Measure the models on labelled records.")
app.command()(behaviours)
app.command()(cascade)
app.command()(detoxifier)
app.command()(blind_pairs)
app.command()(images)
app.command()(protector)


@app.callback()
def evaluate() -> None:
    """Measure the models on labelled records."""


@app.command()
def detector(
    data: Annotated[
        list[Path], typer.Option(help="A record file (.jsonl, .jsonl.gz) or a directory; may be repeated.")
    ],
    more_data: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE_OR_DIR]...", help="Further ones, as in --data a b c.")
    ] = None,
    threshold: ThresholdOption = None,
    config: DetectorOption = None,
    weights: WeightsOption = None,
    threads: ThreadsOption = 2,
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="Score at most so many labelled rows of each set, drawn at random.")
    ] = None,
    perturb: Annotated[
        bool, typer.Option("--perturb", help="Score the rows again under each perturbation: a dozen more passes.")
    ] = False,
    worst: Annotated[int, typer.Option(min=0, help="List so many of the worst errors of each set, by id.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Also write a report with curves to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Score labelled records with a harm detector: metrics with 95% bootstrap intervals, and rows to beat.

    Without --config and --weights it is the one that Weir ships. Any other is measured by the same harness: its
    threshold is that of its card or description, and the learned row to beat is there where its weights hold one.

    Each directory that holds record files is a set under its name; a file given by itself is one too. A metric that a
    set cannot give (one class only, say) is null in JSON and "-" in the tables. Rows without a label are counted and
    not scored. A record that is only a prompt is judged as a text standing alone. Figures of other guards stand beside
    ours where the set is one that they published on. No text of any record is printed or written.

    Exit codes: 0 done; 1 a detector behind an endpoint is gone; 2 data, configuration or weights cannot be used
    (the message names file and line), or no report can be written.
    """
    with ending_in_one_line("weir eval detector"):
        if html is not None:
            require_drawable(html, option="--html", drawn_by="protector_models.evaluation.detector.html_report")
        report, evaluated = _evaluate(
            [*data, *(more_data or ())],
            choose_detector(config, weights),
            threshold=threshold,
            num_threads=threads,
            max_rows=max_rows,
            is_perturbed=perturb,
            num_worst=worst,
        )
        if as_json:
            typer.echo(report.model_dump_json(indent=2))
        else:
            print_report(report)
        if html is not None:
            # Imported here, not above: it takes seconds, and needs the "eval" extra.
            from protector_models.evaluation.detector.html_report import render_html  # noqa: PLC0415

            write_drawing(html, render_html(report, evaluated), option="--html")


@app.command()
def overlap(
    training: Annotated[Path, typer.Option(help="Directory with one directory of records per training set.")],
    data: Annotated[list[Path], typer.Option(help="Record files or directories to measure on; may be repeated.")],
    write: Annotated[
        Path | None, typer.Option(help="Also write the hashes of the texts that are in both to this file.")
    ] = None,
) -> None:
    """Find texts of the training mix that are in the sets to be measured on, whatever their case and punctuation.

    Training leaves out what is listed in protector_models/records/excluded_texts.txt: write that file to renew the
    list after data was added. No text of any record is printed or written.

    Exit codes: 0 done, whatever was found; 2 the data cannot be used, and the message names file and line, or the file
    cannot be written.
    """
    from protector_models.records.overlaps import find_overlaps  # noqa: PLC0415  # heavy, see below

    with ending_in_one_line("weir eval overlap", also=BAD_FILES):
        found = find_overlaps(training, data)
        print_overlaps(found)
        if write is not None:
            write.write_text("".join(f"{text_hash}\n" for text_hash in sorted({each.text_hash for each in found})))


def _evaluate(
    data: list[Path],
    settings: DetectorSettings,
    *,
    threshold: float | None,
    num_threads: int,
    max_rows: int | None,
    is_perturbed: bool,
    num_worst: int,
) -> "tuple[EvaluationReport, dict[str, EvaluatedSet]]":
    # Imported here, not above: the model's libraries take a second, and every other command would pay for them.
    from protector_models.detectors.choice import load_detector  # noqa: PLC0415
    from protector_models.evaluation import report  # noqa: PLC0415
    from protector_models.evaluation.detector import harness, perturbations  # noqa: PLC0415
    from protector_models.evaluation.detector.blocking_detector import BlockingDetector  # noqa: PLC0415
    from protector_models.records import record_sets  # noqa: PLC0415

    # All data is read before any is scored: a fault in the last file shows at once, and the bar knows its end.
    sets = [record_sets.read_rows(found, max_rows=max_rows) for found in record_sets.find_sets(data)]
    loaded = load_detector(settings, num_threads=num_threads, timeout_s=TIMEOUT_S)
    plan = harness.EvaluationPlan(
        threshold=loaded.threshold if threshold is None else threshold,
        baselines=_compose_learned_rows(settings),
        num_worst=num_worst,
        perturbations=tuple(perturbations.PERTURBATIONS) if is_perturbed else (),
    )
    evaluated: dict[str, EvaluatedSet] = {}
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with BlockingDetector(loaded) as judge, Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("reading", total=sum(plan.count_assessments(rows) for rows in sets))
        for rows in sets:
            progress.update(task, description=rows.name)
            evaluated[rows.name] = harness.evaluate_set(
                judge, rows, plan, report_rows=lambda num_rows: progress.advance(task, num_rows)
            )
    figures = report.EvaluationReport(
        detector=loaded.revision,
        threshold=plan.threshold,
        max_rows=max_rows,
        sets={name: found.report for name, found in evaluated.items()},
    )
    return figures, evaluated


def _compose_learned_rows(settings: DetectorSettings) -> "list[BaselineJudge]":
    """Returns the learned rows that a detector's weights have the components for."""
    if settings.kind != "onnx":
        return []
    from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS  # noqa: PLC0415
    from protector_models.evaluation.detector.bag_of_words_judge import BagOfWordsJudge  # noqa: PLC0415

    directory = settings.checkpoint or SHIPPED_WEIGHTS
    if CheckpointCard.load(directory).bag_of_words_threshold is None:
        return []
    return [BagOfWordsJudge.load(directory)]
