"""`weir bench`: speed, as a ratio against something in the same run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.bench.report import Comparison, Progress
from pipelines.commands.exit_statuses import ending_in_one_line
from pipelines.commands.http_table import make_http_table
from pipelines.commands.measured_detector import choose_detector
from pipelines.commands.options import ConfigOption, JsonOption
from pipelines.settings import load_settings
from services.http.settings import Ingress

_WHOLE_FROM = 10
"""Larger figures are shown without a fraction."""

app = typer.Typer(help="Measure speed, as a ratio against something in the same run.", no_args_is_help=True)


@app.command()
def stream(
    config: ConfigOption = None,
    cold_records: Annotated[int, typer.Option("--cold", min=1, help="Conversations for the cold comparison.")] = 1_000,
    cached_records: Annotated[int, typer.Option("--cached", min=1, help="Records for the cached one.")] = 20_000,
    backlog_records: Annotated[
        int, typer.Option("--backlog", min=1, help="Records whose first result is waited for.")
    ] = 4_000,
    burst_records: Annotated[
        int, typer.Option("--burst", min=1, help="Records of the burst on a slow model.")
    ] = 20_000,
    trickle_s: Annotated[
        float, typer.Option("--trickle", metavar="SECONDS", min=0.0, help="How long the trickle before the burst is.")
    ] = 25.0,
    repeats: Annotated[int, typer.Option(min=1, help="How often everything is measured, in turn.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Measure the stream on a real Apache Kafka, a Redis and Ray Serve that it starts here; exactly once.

    Cold: Kafka to Kafka against the same Moderator in process, same conversations and threads, nothing cached.
    Cached: Kafka to Kafka with every model output in Redis, against a bare kafka-python transactional copy.
    Burst: a worker over a model of half a second a call, a trickle and then a burst against the burst alone.
    First result: the time to the first result of a backlog as a share of that to its last one.

    With --json the object holds the cold comparison, and the others under "cached", "burst" and "first_result". What
    was measured before a later part fails is shown all the same.

    Exit codes: 0 done; 1 a part failed; 2 the configuration cannot be used, or Kafka or Redis cannot be started here.
    """
    with ending_in_one_line("weir bench stream"):
        settings = load_settings(config)
        # Imported here, not above: Ray and kafka-python take seconds, and every other command would pay for them.
        from pipelines.bench.measurements import Measurements  # noqa: PLC0415
        from pipelines.bench.stream import ROWS, StreamBenchmark, run_stream_benchmark  # noqa: PLC0415

        benchmark = StreamBenchmark(
            settings=settings,
            cold_records=cold_records,
            cached_records=cached_records,
            backlog_records=backlog_records,
            burst_records=burst_records,
            trickle_s=trickle_s,
            repeats=repeats,
        )
        measured = Measurements(ROWS)
        try:
            with _progress() as show:
                run_stream_benchmark(benchmark, measured, show)
        finally:
            _print_stream(measured.comparisons(), as_json=as_json)


def _print_stream(comparisons: dict[str, Comparison], *, as_json: bool) -> None:
    """Print what there is, be it nothing."""
    if as_json:
        cold = comparisons.pop("cold", None)
        rows = {name: row.model_dump() for name, row in comparisons.items()}
        typer.echo(json.dumps({**({} if cold is None else cold.model_dump()), **rows}, indent=2))
    elif comparisons:
        Console().print(_table(list(comparisons.values())))


class IngressChoice(StrEnum):
    """Which ingresses of Ray Serve are measured."""

    PROXY = "proxy"
    HAPROXY = "haproxy"
    BOTH = "both"

    def ingresses(self) -> tuple[Ingress, ...]:
        """Return them."""
        every: tuple[Ingress, ...] = ("haproxy", "proxy")
        return tuple(ingress for ingress in every if self in {ingress, IngressChoice.BOTH})


@app.command()
def http(
    config: ConfigOption = None,
    ingress: Annotated[
        IngressChoice, typer.Option(help="The ingress of Ray Serve that is measured.")
    ] = IngressChoice.BOTH,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long each thing is called in each repeat.")
    ] = 20.0,
    connections: Annotated[int, typer.Option(min=1, help="Callers at the same time, of both sides.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="How often everything is measured, in turn.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Measure POST /v1/moderations with 32 texts and with one to a request, on a Ray Serve that it starts here.

    Against the same Moderator in process, with the same texts and as many callers; and against a bare FastAPI route on
    the same Ray Serve that echoes the same requests. Nobody has judged a text before: nothing is cached.

    With --json the object holds the comparison with the Moderator at 32 texts (where both ingresses are measured, the
    smaller ratio of the two), and all comparisons by their names.

    Exit codes: 0 done; 1 a part failed; 2 the configuration cannot be used, or something cannot be started here.
    """
    with ending_in_one_line("weir bench http"):
        settings = load_settings(config)
        # Imported here, not above: models take seconds, and every other command would pay for them.
        from pipelines.bench.http import HttpBenchmark, make_rows, run_http_benchmark  # noqa: PLC0415
        from pipelines.bench.measurements import Measurements  # noqa: PLC0415

        ingresses = ingress.ingresses()
        benchmark = HttpBenchmark(
            settings=settings, ingresses=ingresses, seconds=seconds, connections=connections, repeats=repeats
        )
        measured = Measurements(make_rows(ingresses))
        try:
            with _progress() as show:
                run_http_benchmark(benchmark, measured, show)
        finally:
            _print_http(measured.comparisons(), as_json=as_json)


def _print_http(comparisons: dict[str, Comparison], *, as_json: bool) -> None:
    """Print what there is, be it nothing."""
    if as_json:
        reached = [row for name, row in comparisons.items() if name in {"haproxy_32", "proxy_32"}]
        slowest = min(reached, key=lambda row: row.ratio, default=None)
        rows = {name: row.model_dump() for name, row in comparisons.items()}
        typer.echo(json.dumps({**({} if slowest is None else slowest.model_dump()), **rows}, indent=2))
    elif comparisons:
        Console().print(make_http_table(comparisons))


@app.command()
def detector(
    weights: Annotated[
        Path | None, typer.Option(help="Weights directory of the detector; default: the one that Weir ships.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration whose detector, of kind onnx or a classifier, is measured.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads, of both sides.")] = 2,
    texts: Annotated[int, typer.Option(min=1, help="Texts of each length in one measurement.")] = 64,
    repeats: Annotated[int, typer.Option(min=1, help="How often everything is measured, in turn.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Measure the detector on texts of 64, 128 and 256 tokens, from string to score.

    The texts are answers that Weir ships. Against the same weights as transformers and torch run them (the shipped
    fast detector in fp32, a configured classifier on the same device and in the same type): batches, padding, the same
    number of threads.

    With --json the object holds the length with the smallest ratio, and each length under its number of tokens.

    Exit codes: 0 done; 1 a model is gone; 2 the weights or the configuration cannot be used.
    """
    with ending_in_one_line("weir bench detector"):
        measured = choose_detector(config, weights)

        # Imported here, not above: torch and transformers take seconds, and every other command, and a wrong
        # configuration, would wait for them.
        from pipelines.bench.detector import DetectorBenchmark, run_detector_benchmark  # noqa: PLC0415

        benchmark = DetectorBenchmark(detector=measured, num_threads=threads, num_texts=texts, repeats=repeats)
        with _progress() as show:
            comparisons = run_detector_benchmark(benchmark, show)
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

    Exit codes: 0 done; 2 the weights cannot be used.
    """
    # Imported here, not above: torch and transformers take seconds, and every other command would pay for them.
    from pipelines.bench.detoxifier import DetoxifierBenchmark, run_detoxifier_benchmark  # noqa: PLC0415
    from protector_models.detoxification.edit_model import SHIPPED_EDIT_MODEL  # noqa: PLC0415

    benchmark = DetoxifierBenchmark(
        weights=weights or SHIPPED_EDIT_MODEL, num_threads=threads, num_texts=texts, repeats=repeats
    )
    with ending_in_one_line("weir bench detoxifier"), _progress() as show:
        comparison = run_detoxifier_benchmark(benchmark, show)
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
            _figure(row.value, row.unit),
            f"{_figure(row.against, row.unit)}: {row.against_what}",
            f"{row.ratio:.2f}",
            f"{row.ratio_lowest:.2f} to {row.ratio_highest:.2f}",
        )
    return table


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= _WHOLE_FROM else f"{value:.1f} {unit}"
