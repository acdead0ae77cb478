"""`weir bench`: speed, as a ratio against something in the same run."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.bench.report import Comparison
from pipelines.commands.options import ConfigOption, JsonOption
from pipelines.settings import load_settings

app = typer.Typer(help="Measure speed, as a ratio against something in the same run.", no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """Keep `stream` a subcommand, although it is the only one."""


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

    console = Console(stderr=True)
    benchmark = StreamBenchmark(
        settings=settings, cold_records=cold_records, cached_records=cached_records, repeats=repeats
    )
    with console.status("starting") as status:

        def show(step: str) -> None:
            status.update(step)
            if not console.is_terminal:
                console.print(step)

        cold, cached = run_stream_benchmark(benchmark, show)
    if as_json:
        typer.echo(json.dumps({**cold.model_dump(), "cached": cached.model_dump()}, indent=2))
    else:
        Console().print(_table([cold, cached]))


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
