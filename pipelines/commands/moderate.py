"""`weir moderate`: conversations in a JSONL file, moderated in this process."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipelines.commands.interrupts import EXIT_INTERRUPTED, read_interruptibly
from pipelines.commands.options import ConfigOption, JsonOption
from pipelines.files.jsonl import Line, LineReader, output_line
from pipelines.files.jsonl_files import STANDARD_STREAM, open_jsonl
from pipelines.files.resumable_output import OutputChoice, choose_output, open_output
from pipelines.files.sidecar import Origin, describe_origin
from pipelines.settings import WeirSettings, load_settings
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.wire.codec import DecodedEvent
from protector_models.moderation.wire.encoded import (
    EncodedVerdict,
    FailedValue,
    decode_values,
    moderate_decoded,
)
from services.counters.process_counters import PrometheusMetrics
from services.logs import configure_logs
from services.patience import Patience

if TYPE_CHECKING:
    from protector_models.moderation.moderator import Moderator

EXIT_WITH_ERROR_RECORDS = 3


@dataclass(slots=True)
class _Summary:
    """What has been done so far."""

    results: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    fields_ignored: int = 0
    """Fields of messages, and parts with a model's thoughts, that were passed over: nobody judged what is in them."""
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
        Path,
        typer.Argument(
            metavar="IN.jsonl", help="Events, one JSON object a line, plain, gzip or zstd; - is standard input."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Moderated conversations; - is standard output.")
    ] = STANDARD_STREAM,
    config: ConfigOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after what an earlier run left in --out, if it began as this one.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what --out holds.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with status 3 if any line became an error record.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Moderate the events of a JSONL file: one line out for each line in, in order.

    A line that cannot be moderated becomes an error record in its place, with its line number. Blank lines are skipped
    and counted, and so are the fields of messages that nobody judged. The same input gives the same output, apart from
    "cached" after --resume or with a Redis (redis.url).

    Beside OUT.jsonl lies OUT.jsonl.weir.json: how far it goes, from which lines, policy and models. --resume goes on
    from there, also when IN has grown since, and refuses an output that was made from anything else. While a run writes
    to OUT.jsonl, another one on it is refused.

    A model or service that is gone, as an endpoint may be, is waited for (stream.retry_give_up_s); what was asked of it
    is kept. Ends with 0 when every line is written, 1 when it stays away, 2 for a wrong call or configuration, or
    an input that is damaged or of another form, 130 when interrupted; --resume goes on from what is written so far.
    """
    settings = load_settings(config)
    configure_logs(settings.log)
    summary = _Summary()
    reader: LineReader | None = None
    is_interrupted = False
    try:
        choice = choose_output(source, out, resume=resume, overwrite=overwrite)
        try:
            with open_jsonl(source) as lines:
                reader = LineReader(stream=lines.stream, max_bytes=settings.stream.event_max_bytes)
                asyncio.run(_moderate_all(settings, reader, choice, summary, lines.size_bytes))
        except KeyboardInterrupt:
            is_interrupted = True
    except BrokenPipeError:
        raise  # whoever read our output has enough; the command line ends quietly then
    except OSError as error:
        raise ConfigurationError(f"{error.filename or f'{source} to {out}'}: {error.strerror}") from error
    if reader is not None:
        _print_summary(summary, reader, as_json=as_json, out=out)
    if is_interrupted:
        typer.echo(f"interrupted{'; --resume goes on from there' if choice.is_recorded else ''}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED)
    if strict and summary.results["error"]:
        raise typer.Exit(EXIT_WITH_ERROR_RECORDS)


async def _moderate_all(
    settings: WeirSettings, reader: LineReader, choice: OutputChoice, summary: _Summary, size_bytes: int | None
) -> None:
    # Imported here, not above: models and Redis take a second, and every other command would pay for it.
    from services.moderators import in_process_moderator, verdict_cache  # noqa: PLC0415
    from services.policies_in_force import load_policy_in_force, load_shadow_policy  # noqa: PLC0415

    metrics = PrometheusMetrics(CollectorRegistry())
    policy, shadow = load_policy_in_force(settings), load_shadow_policy(settings)
    named = policy.revision if shadow is None else f"{policy.revision}, in shadow {shadow.revision}"
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
            in_process_moderator(
                settings, policy, metrics, cache, patience=Patience.from_settings(settings.stream)
            ) as loaded,
        ):
            moderator = loaded.under(policy, shadow_policy=shadow)

            def describe(models: Collection[str]) -> Origin:
                revisions = _find_revisions(moderator, models)
                return describe_origin(settings, policy=named, models=revisions)

            # Opened when everything else stands: an earlier output is not lost to a wrong configuration.
            with open_output(choice, reader, describe) as output:
                summary.resumed_after = output.resumed_after
                for batch in read_interruptibly(_batches(reader, settings)):
                    contents = [line.content for line in batch]
                    decoded = await decode_values(contents, max_bytes=settings.stream.event_max_bytes)
                    results = await moderate_decoded(moderator, decoded, metrics=metrics)
                    summary.fields_ignored += _count_ignored(decoded)
                    for result in results:
                        summary.add(result)
                    lines = [output_line(line, result) for line, result in zip(batch, results, strict=True)]
                    output.write(lines, reader, _revisions_in(results))
                    progress.update(task, completed=reader.bytes_read, lines=summary.results.total())


def _count_ignored(decoded: Sequence[DecodedEvent | FailedValue]) -> int:
    return sum(entry.ignored for entry in decoded if isinstance(entry, DecodedEvent))


def _find_revisions(moderator: "Moderator", also: Collection[str]) -> dict[str, str]:
    """Return the revisions of the models that stand ready, and of others by name: the image reader is slow to load."""
    found = {name: moderator.find_revision(name) for name in ("detector", "detoxifier", "mllm", *also)}
    return {name: revision for name, revision in found.items() if revision is not None}


def _revisions_in(results: Sequence[EncodedVerdict | FailedValue]) -> Mapping[str, str]:
    verdicts = (result.verdict for result in results if isinstance(result, EncodedVerdict))
    return {name: revision for verdict in verdicts for name, revision in verdict.model_revisions.items()}


def _batches(reader: LineReader, settings: WeirSettings) -> Iterator[list[Line]]:
    """Cut the input into batches whose bounds depend on nothing but the input, so that a run can be repeated."""
    batch: list[Line] = []
    num_bytes = 0
    try:
        for line in reader:
            batch.append(line)
            num_bytes += len(line.content)
            if len(batch) >= settings.stream.batch_max_records or num_bytes >= settings.stream.batch_max_bytes:
                yield batch
                batch, num_bytes = [], 0
    except ConfigurationError:
        # A packed file that is damaged: what could be read before that is moderated.
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _print_summary(summary: _Summary, reader: LineReader, *, as_json: bool, out: Path) -> None:
    """Print counts that add up: lines = results + blank + written by an earlier run."""
    facts = {
        "lines": reader.lines_read,
        "blank": reader.blank_lines,
        "resumed_after": summary.resumed_after,
        **{name: summary.results[name] for name in ("allow", "rewrite", "review", "block", "error")},
        "cached": summary.cached,
        "fields_ignored": summary.fields_ignored,
    }
    if as_json:
        typer.echo(json.dumps(facts), err=out == STANDARD_STREAM)
        return
    table = Table(title="weir moderate", show_header=False)
    for name, number in facts.items():
        table.add_row(name, str(number))
    Console(stderr=True).print(table)
