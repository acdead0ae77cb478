"""`weir eval images`: the reading of images measured, and what it adds to a check of prompts."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.commands.evaluation_tables import format_figure, make_table
from pipelines.commands.exit_statuses import ending_in_one_line
from pipelines.commands.options import ConfigOption, JsonOption
from pipelines.settings import WeirSettings, load_settings
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from protector_models.evaluation.images.figures import ImagesReport
    from protector_models.evaluation.images.rows import ImageRows
    from protector_models.moderation.conversation import Exchange
    from protector_models.moderation.model_outputs import Assessment, ItemFailure

_TIMEOUT_S = 3_600.0
"""Nobody waits for a batch of records: this only ends a run that hangs."""
_BATCH_SIZE = 32


def images(
    data: Annotated[
        Path, typer.Option(help="Records with a picture, the text in it and a prompt; others are plain questions.")
    ],
    benign: Annotated[Path, typer.Option(help="Records whose prompts are harmless: 1% of them may be flagged.")],
    config: ConfigOption = None,
    threads: Annotated[int, typer.Option(min=1, help="Images read at the same time, one CPU thread each.")] = 2,
    max_images: Annotated[int | None, typer.Option(min=1, help="Take only so many of the first pictures.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read pictures whose text is known, then judge prompts with and without what was read.

    Reader and detector are the configured ones. Each prompt is judged as a text standing alone, with the text in its
    picture below it; an image that could not be read adds nothing here, where the policy would send it to review. No
    text of any record is printed or written. Five hundred pictures of 760 x 760 take about four minutes on two cores.

    Exit codes: 0 done; 1 a model is gone; 2 the data or the configuration cannot be used; 130 interrupted.
    """
    with ending_in_one_line("weir eval images"):
        # Imported here, not above: every other command would pay for it.
        from protector_models.evaluation.images.rows import read_image_rows  # noqa: PLC0415

        settings = load_settings(config)
        report = _evaluate(read_image_rows(data, benign, max_images=max_images), settings, num_threads=threads)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print(report)


def _evaluate(rows: "ImageRows", settings: WeirSettings, *, num_threads: int) -> "ImagesReport":
    from protector_models.evaluation.images import figures as evaluation  # noqa: PLC0415
    from protector_models.images.reader import SynchronousImageReader  # noqa: PLC0415

    if settings.images.read == "off":
        raise ConfigurationError("images.read: expected 'text', got 'off'")
    reader = SynchronousImageReader.load(settings.images)
    contents = [row.content for row in rows.images]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        reading = progress.add_task("reading", total=len(set(contents)))
        readings = evaluation.time_readings(
            reader, contents, num_threads=num_threads, report_image=lambda: progress.advance(reading)
        )
        exchanges = evaluation.compose_inputs(rows, readings)
        judging = progress.add_task("judging", total=sum(len(texts) for texts in exchanges.values()))
        detector, outcomes = asyncio.run(
            _assess(exchanges, settings, num_threads, lambda number: progress.advance(judging, number))
        )
    return evaluation.ImagesReport(
        reader=reader.revision,
        detector=detector,
        rule=evaluation.ACCURACY_RULE,
        reading=evaluation.measure_reading(rows.images, readings),
        input_check=evaluation.measure_input_check(outcomes),
    )


async def _assess(
    exchanges: "dict[str, list[Exchange]]",
    settings: WeirSettings,
    num_threads: int,
    report_texts: Callable[[int], object],
) -> "tuple[str, dict[str, list[Assessment | ItemFailure]]]":
    """Returns the detector's revision, and what it says of every text."""
    from protector_models.detectors.choice import load_detector  # noqa: PLC0415  # heavy, see above

    detector = load_detector(settings.detector, num_threads=num_threads, timeout_s=_TIMEOUT_S)
    try:
        outcomes: dict[str, list[Assessment | ItemFailure]] = {name: [] for name in exchanges}
        for name, texts in exchanges.items():
            for batch in split_by_count(texts, _BATCH_SIZE):
                outcomes[name] += await detector.assess(batch)
                report_texts(len(batch))
        return detector.revision, outcomes
    finally:
        await detector.close()


def _print(report: "ImagesReport") -> None:
    console = Console()
    reading, check = report.reading, report.input_check
    read = make_table(f"Text in pictures, {report.reader}", "", "")
    read.caption = report.rule
    read.add_row("images", str(reading.num_images))
    read.add_row("of them different, and read", f"{reading.num_distinct}, {reading.num_readings}")
    read.add_row("not read", ", ".join(f"{reason} {number}" for reason, number in reading.unread.items()) or "0")
    read.add_row(
        "character accuracy", format_figure(reading.character_accuracy.value, reading.character_accuracy.interval)
    )
    read.add_row("without any error", format_figure(reading.share_exact.value, reading.share_exact.interval))
    read.add_row("seconds an image, mean and p95", f"{reading.seconds_mean:.2f}, {reading.seconds_p95:.2f}")
    read.add_row("of them computing, mean", f"{reading.cpu_seconds_mean:.2f}")
    console.print(read)
    found = make_table(f"Prompts flagged by {report.detector}", "what is judged", "recall")
    low, high = check.threshold_interval
    found.caption = (
        f"above {check.threshold:.4f} ({low:.4f}-{high:.4f}), as at most 1% of {check.num_benign} benign prompts are; "
        f"{check.num_without_score} without a score"
    )
    for name, figure in check.recall.items():
        found.add_row(name, format_figure(figure.value, figure.interval))
    console.print(found)
