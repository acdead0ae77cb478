"""`weir moderate`: conversations in a JSONL file, moderated in this process."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Annotated

import typer
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipelines.commands.interrupts import EXIT_INTERRUPTED, read_interruptibly
from pipelines.commands.options import ConfigOption, JsonOption
from pipelines.encoded import EncodedVerdict, FailedValue, moderate_encoded
from pipelines.jsonl import Line, LineReader, output_line
from pipelines.logs import configure_logs
from pipelines.settings import WeirSettings, load_settings
from protector_models.moderation.errors import ConfigurationError
from services.metrics import PrometheusMetrics

EXIT_WITH_ERROR_RECORDS = 3
_STANDARD_STREAM = Path("-")


@dataclass(slots=True)
class _Summary:
    """What has been done so far."""

    results: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    resumed_after: int = 0
    """Lines that an earlier run had written."""

    def add(self, result: EncodedVerdict | FailedValue) -> None:
        """Count one line of the output."""
        if isinstance(result, EncodedVerdict):
            self.results[result.action.value] += 1
            self.cached += result.cached
        else:
            self.results["error"] += 1


def moderate(
    source: Annotated[
        Path, typer.Argument(metavar="IN.jsonl", help="Events, one JSON object a line; - is standard input.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Moderated conversations; - is standard output.")
    ] = _STANDARD_STREAM,
    config: ConfigOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last whole line of an --out that an earlier run left.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with status 3 if any line became an error record.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Moderate the events of a JSONL file: one line out for each line in, in order.

    A line that cannot be moderated becomes an error record in its place, with its line number. Blank lines are skipped
    and counted. The same input gives the same output, apart from "cached" after --resume or with a Redis (redis.url).

    Ends with 0 when every line is written, 1 when a model or service is gone, 2 for a wrong call or configuration,
    130 when interrupted; what is written so far is whole lines, and --resume goes on from there.
    """
    settings = load_settings(config)
    configure_logs(settings.log)
    if resume and _STANDARD_STREAM in {source, out}:
        raise ConfigurationError("--resume: expected IN and --out to be files, not -")
    if source.is_file() and out.is_file() and source.samefile(out):
        raise ConfigurationError(f"--out: expected another file than IN, got {out}")
    summary = _Summary()
    is_interrupted = False
    try:
        with ExitStack() as stack:
            lines = stack.enter_context(source.open("rb")) if source != _STANDARD_STREAM else sys.stdin.buffer
            reader = LineReader(stream=lines, max_bytes=settings.stream.event_max_bytes)
            open_sink = partial(_open_sink, out, reader, summary, resume=resume)
            size_bytes = source.stat().st_size if source.is_file() else None
            try:
                asyncio.run(_moderate_all(settings, reader, open_sink, summary, size_bytes))
            except KeyboardInterrupt:
                is_interrupted = True
    except BrokenPipeError:
        raise  # whoever read our output has enough; the command line ends quietly then
    except OSError as error:
        raise ConfigurationError(f"{error.filename or f'{source} to {out}'}: {error.strerror}") from error
    _print_summary(summary, reader, as_json=as_json, out=out)
    if is_interrupted:
        typer.echo("interrupted; --resume goes on after the last line written", err=True)
        raise typer.Exit(EXIT_INTERRUPTED)
    if strict and summary.results["error"]:
        raise typer.Exit(EXIT_WITH_ERROR_RECORDS)


async def _moderate_all(
    settings: WeirSettings,
    reader: LineReader,
    open_sink: Callable[[], AbstractContextManager[IO[bytes]]],
    summary: _Summary,
    size_bytes: int | None,
) -> None:
    # Imported here, not above: models and Redis take a second, and every other command would pay for it.
    from pipelines.composition import in_process_moderator, load_policy_in_force, verdict_cache  # noqa: PLC0415

    metrics = PrometheusMetrics(CollectorRegistry())
    policy = load_policy_in_force(settings)
    progress = Progress(
        TextColumn("moderating"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[lines]} lines"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    with progress:
        task = progress.add_task("moderating", total=size_bytes, lines=0)
        async with (
            verdict_cache(settings, metrics) as cache,
            in_process_moderator(settings, policy, metrics, cache) as moderator,
        ):
            # Opened when everything else stands: an earlier output is not lost to a wrong configuration.
            with open_sink() as sink:
                for batch in read_interruptibly(_batches(reader, settings)):
                    results = await moderate_encoded(
                        moderator, [line.content for line in batch], max_bytes=settings.stream.event_max_bytes
                    )
                    for line, result in zip(batch, results, strict=True):
                        sink.write(output_line(line, result))
                        summary.add(result)
                    sink.flush()
                    progress.update(task, completed=reader.bytes_read, lines=summary.results.total())


def _batches(reader: LineReader, settings: WeirSettings) -> Iterator[list[Line]]:
    """Cut the input into batches whose bounds depend on nothing but the input, so that a run can be repeated."""
    batch: list[Line] = []
    num_bytes = 0
    for line in reader:
        batch.append(line)
        num_bytes += len(line.content)
        if len(batch) >= settings.stream.batch_max_records or num_bytes >= settings.stream.batch_max_bytes:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


@contextmanager
def _open_sink(out: Path, reader: LineReader, summary: _Summary, *, resume: bool) -> Iterator[IO[bytes]]:
    """Open the output; when resuming, keep its whole lines and skip as many lines of the input."""
    if out == _STANDARD_STREAM:
        yield sys.stdout.buffer
    elif resume and out.exists():
        with out.open("r+b") as sink:
            _skip_what_is_done(sink, out, reader, summary)
            yield sink
    else:
        with out.open("wb") as sink:
            yield sink


def _skip_what_is_done(sink: IO[bytes], out: Path, reader: LineReader, summary: _Summary) -> None:
    whole_bytes = 0
    for line in sink:
        if line.endswith(b"\n"):
            whole_bytes += len(line)
            summary.resumed_after += 1
    skipped = sum(1 for _ in zip(range(summary.resumed_after), reader, strict=False))
    if skipped < summary.resumed_after:
        raise ConfigurationError(
            f"{out}: has {summary.resumed_after} lines, more than the input: expected the same input"
        )
    sink.truncate(whole_bytes)
    sink.seek(whole_bytes)


def _print_summary(summary: _Summary, reader: LineReader, *, as_json: bool, out: Path) -> None:
    """Print counts that add up: lines = results + blank + written by an earlier run."""
    facts = {
        "lines": reader.lines_read,
        "blank": reader.blank_lines,
        "resumed_after": summary.resumed_after,
        **{name: summary.results[name] for name in ("allow", "rewrite", "review", "block", "error")},
        "cached": summary.cached,
    }
    if as_json:
        typer.echo(json.dumps(facts), err=out == _STANDARD_STREAM)
        return
    table = Table(title="weir moderate", show_header=False)
    for name, number in facts.items():
        table.add_row(name, str(number))
    Console(stderr=True).print(table)
