"""`weir bench`: speed, as a ratio against something in the same run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.bench.report import Comparison, Progress
from pipelines.commands.options import ConfigOption, JsonOption
from pipelines.settings import load_settings
from protector_models.checkpoints import CheckpointError
from protector_models.moderation.errors import ConfigurationError, DependencyError

app = typer.Typer(help="Measure speed, as a ratio against something in the same run.", no_args_is_help=True)


@app.command()
def stream(
    config: ConfigOption = None,
    cold_records: Annotated[int, typer.Option("--cold", min=64, help="Conversations for the cold comparison.")] = 1_000,
    cached_records: Annotated[int, typer.Option("--cached", min=1_000, help="Records for the cached one.")] = 20_000,
    repeats: Annotated[int, typer.Option(min=1, help="How often everything is measured, in turn.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Measure the stream on a real Apache Kafka, a Redis and Ray Serve that it starts here; exactly once.

    Cold: Kafka to Kafka against the same Moderator in process, same conversations and threads, nothing cached.
    Cached: Kafka to Kafka with every assessment in Redis, against a bare kafka-python transactional copy.

    With --json the object holds the cold comparison, and the cached one under "cached".
    """
    settings = load_settings(config)
    # Imported here, not above: Ray and kafka-python take seconds, and every other command would pay for them.
    from pipelines.bench.stream import StreamBenchmark, run_stream_benchmark  # noqa: PLC0415

    benchmark = StreamBenchmark(
        settings=settings, cold_records=cold_records, cached_records=cached_records, repeats=repeats
    )
    with _progress() as show:
        cold, cached = run_stream_benchmark(benchmark, show)
    if as_json:
        typer.echo(json.dumps({**cold.model_dump(), "cached": cached.model_dump()}, indent=2))
    else:
        Console().print(_table([cold, cached]))


@app.command()
def detector(
    weights: Annotated[
        Path | None, typer.Option(help="Weights directory of the detector; default: the one that Weir ships.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration whose detector, a classifier of kind transformers, is measured.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads, of both sides.")] = 2,
    texts: Annotated[int, typer.Option(min=1, help="Texts of each length in one measurement.")] = 64,
    repeats: Annotated[int, typer.Option(min=1, help="How often everything is measured, in turn.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Measure the detector on texts of 64, 128 and 256 tokens, from string to score.

    Against the same weights as transformers and torch run them (the shipped ones in fp32, a configured classifier on
    the same device and in the same type): batches, padding, the same number of threads.

    With --json the object holds the length with the smallest ratio, and each length under its number of tokens.

    Exit codes: 0 done; 1 the weights or the configuration cannot be used.
    """
    # Imported here, not above: torch and transformers take seconds, and every other command would pay for them.
    from pipelines.bench.detector import DetectorBenchmark, run_detector_benchmark  # noqa: PLC0415
    from protector_models.detectors.harm_detector import SHIPPED_WEIGHTS  # noqa: PLC0415

    try:
        if weights is not None and config is not None:
            raise ConfigurationError("--weights and --config: expected one of them")
        measured = load_settings(config).detector if config is not None else weights or SHIPPED_WEIGHTS
        benchmark = DetectorBenchmark(detector=measured, num_threads=threads, num_texts=texts, repeats=repeats)
        with _progress() as show:
            comparisons = run_detector_benchmark(benchmark, show)
    except (ConfigurationError, DependencyError) as error:
        Console(stderr=True).print(f"weir bench detector: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    if as_json:
        slowest = min(comparisons.values(), key=lambda row: row.ratio)
        rows = {str(length): row.model_dump() for length, row in comparisons.items()}
        typer.echo(json.dumps({**slowest.model_dump(), **rows}, indent=2))
    else:
        Console().print(_table(list(comparisons.values())))


@app.command()
def detoxifier(
    weights: Annotated[
        Path | None, typer.Option(help="Weights directory of the edit model; default: the one that Weir ships.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads, of both sides.")] = 2,
    texts: Annotated[int, typer.Option(min=2, help="Texts in one measurement, half of them toxic.")] = 256,
    repeats: Annotated[int, typer.Option(min=1, help="How often everything is measured, in turn.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Measure the edit model on texts of 32 tokens, half of them toxic, from string to string.

    Against one pass of its encoder in fp32 as transformers and torch run it: batches, the same number of threads.

    Exit codes: 0 done; 1 the weights cannot be used.
    """
    # Imported here, not above: torch and transformers take seconds, and every other command would pay for them.
    from pipelines.bench.detoxifier import DetoxifierBenchmark, run_detoxifier_benchmark  # noqa: PLC0415
    from protector_models.detoxification.edit_model import SHIPPED_EDIT_MODEL  # noqa: PLC0415

    benchmark = DetoxifierBenchmark(
        weights=weights or SHIPPED_EDIT_MODEL, num_threads=threads, num_texts=texts, repeats=repeats
    )
    try:
        with _progress() as show:
            comparison = run_detoxifier_benchmark(benchmark, show)
    except CheckpointError as error:
        Console(stderr=True).print(f"weir bench detoxifier: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps(comparison.model_dump(), indent=2))
    else:
        Console().print(_table([comparison]))


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show on standard error what is being measured."""
    console = Console(stderr=True)
    with console.status("starting") as status:

        def show(step: str) -> None:
            status.update(step)
            if not console.is_terminal:
                console.print(step)

        yield show


def _table(comparisons: list[Comparison]) -> Table:
    table = Table("benchmark", "value", "against", "ratio", "lowest to highest", caption=comparisons[0].hardware)
    for row in comparisons:
        table.add_row(
            row.benchmark,
            f"{row.value:,.0f} {row.unit}",
            f"{row.against:,.0f} {row.unit}: {row.against_what}",
            f"{row.ratio:.2f}",
            f"{row.ratio_lowest:.2f} to {row.ratio_highest:.2f}",
        )
    return table
