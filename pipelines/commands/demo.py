"""`weir demo`: real conversations, watched on their way through Kafka, the detector on Ray Serve, and Redis."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipelines.commands.demo_chat import chat
from pipelines.commands.options import ConfigOption, JsonOption
from pipelines.demo.conversations import load_records
from pipelines.demo.tally import DemoResult, DilutedAnswers, Example, MadeCall, Tally
from pipelines.settings import load_settings
from protector_models.moderation.verdict import Action, RewriteMethod
from services.configuration import LogSettings
from services.logs import configure_logs

_EXAMPLES = 6
_DELIVERED = {
    RewriteMethod.EDIT: "the answer, with other words",
    RewriteMethod.OMIT: "the answer, without its harmful sentences",
    RewriteMethod.GENERATE: "an answer by a language model",
    RewriteMethod.COMPLETE: "the policy's text",
}

_SHOWN = {
    *("model", "results", "flagged", "weir", "action", "category", "harmfulness"),
    *("response", "rewrite_method", "error", "code", "message"),
}
"""Keys of answers, and of what is in them."""

app = typer.Typer(invoke_without_command=True)
app.command()(chat)


@app.callback()
def demo(
    context: typer.Context,
    config: ConfigOption = None,
    kafka: Annotated[
        str | None, typer.Option("--kafka", metavar="HOST:PORT", help="A real Kafka instead of the embedded broker.")
    ] = None,
    redis: Annotated[
        str | None, typer.Option("--redis", metavar="URL", help="A running Redis instead of one that is started.")
    ] = None,
    events: Annotated[
        int | None, typer.Option("--events", min=1, metavar="N", help="Send the first N only, for a shorter look.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send the conversations that Weir ships through the whole application, and show what becomes of them.

    Starts a Redis, a Kafka-protocol broker inside this process (for demonstration: it keeps nothing), Ray, and the
    application. Everything is stopped at the end. In a terminal it waits for Enter before that, so that you can look
    around.
    """
    if context.invoked_subcommand is not None:
        _require_no_options(context)
        return
    started = time.monotonic()
    console = Console(stderr=as_json)
    settings = load_settings(config)
    # Imported here, not above: Ray and kafka-python take seconds, and every other command would pay for them.
    from pipelines.demo.http_calls import make_calls  # noqa: PLC0415
    from pipelines.demo.run import Servers, running_application, send_through  # noqa: PLC0415

    quiet = settings.model_copy(update={"log": LogSettings(level="error")})
    configure_logs(quiet.log)
    records = load_records()[:events]
    servers = Servers(kafka=kafka, redis=redis)

    def tell(step: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:5.1f} s[/dim]  {step}")

    with running_application(quiet, servers, tell) as used:
        tell(f"sending {len(records)} recorded conversations")
        progress = Progress(
            TextColumn("        {task.fields[counts]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        with progress:
            task = progress.add_task("moderating", total=len(records), counts="")

            def show(tally: Tally) -> None:
                progress.update(task, completed=tally.results(), counts=_counts(tally))

            result = send_through(used, records, started=started, show=show)
        if used.http is not None:
            result = result.model_copy(update={"http": make_calls(used.http)})
        if as_json:
            typer.echo(result.model_dump_json(indent=2))
        else:
            console.print(_report(result))
            _print_calls(result.http, console)
        if sys.stdin.isatty() and not as_json:
            kafka_at = f"Kafka is at {','.join(used.kafka.bootstrap_servers)}"
            front = "" if used.http is None else f", HTTP at http://{used.http.host}:{used.http.port}"
            console.print(f"{kafka_at}{front} until you press Enter.")
            sys.stdin.readline()
        tell("stopping")
    tell("stopped")


def _require_no_options(context: typer.Context) -> None:
    """Refuse options that stand before a command of the group, where nothing heeds them."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise typer.BadParameter(f"expected no options before {context.invoked_subcommand!r}, got {', '.join(given)}")


def _counts(tally: Tally) -> str:
    counts = [f"{action.value} {tally.actions[action]}" for action in Action]
    return ", ".join([*counts, f"dead letters {tally.dead_letters.total()}"])


def _report(result: DemoResult) -> Group:
    examples = [
        Panel(
            f"[red]{escape(example.before)}[/red]\n[green]{escape(example.after or '(nothing is delivered)')}[/green]",
            title=escape(_title(example)),
            title_align="left",
        )
        for example in _choose_examples(result.examples)
    ]
    return Group(_outcomes(result), _methods(result), _speed(result), *examples, *_show_dilution(result.diluted))


def _print_calls(calls: Sequence[MadeCall], console: Console) -> None:
    """Print calls over HTTP as a shell takes them, each with the answer it got."""
    if calls:
        console.print("Over HTTP, from this machine, for as long as it runs:")
    for call in calls:
        console.print(f"$ {call.command}", style="bold", soft_wrap=True, markup=False, highlight=False)
        shown = json.dumps(_abridge(call.answer), ensure_ascii=False)
        console.print(f"{call.status} {shown}", soft_wrap=True, markup=False, highlight=False)


def _abridge(answer: JsonValue) -> JsonValue:
    """Return what of an answer is shown: what was decided, and what is delivered."""
    if isinstance(answer, list):
        return [_abridge(each) for each in answer]
    if isinstance(answer, dict):
        return {key: _abridge(value) for key, value in answer.items() if key in _SHOWN}
    return answer


def _show_dilution(diluted: DilutedAnswers) -> list[Panel]:
    """Return an answer that is harmful in one sentence, with the sentence that the detector names; none without one."""
    if diluted.example is None:
        return []
    found = diluted.example
    sentence = f"[red]{escape(found.sentence)}[/red] [dim]<- {found.harmfulness}[/dim]"
    answer = f"{escape(found.before)} {sentence} {escape(found.after)}".strip()
    title = f"one toxic sentence in a harmless answer: {diluted.acted_on} of {diluted.sent} acted on"
    return [Panel(answer, title=escape(title), title_align="left")]


def _choose_examples(examples: Sequence[Example]) -> list[Example]:
    """Return the first example of each way of rewriting, then others, each in the order in which they came."""
    firsts = [next((example for example in examples if example.method is method), None) for method in RewriteMethod]
    chosen = [example for example in firsts if example is not None]
    return [*chosen, *(example for example in examples if example not in chosen)][:_EXAMPLES]


def _title(example: Example) -> str:
    made = "" if example.method is None else f" by {example.method.value}"
    return f"{example.action.value}{made}: {example.category}, harmfulness {example.harmfulness}"


def _methods(result: DemoResult) -> Table:
    table = Table("method", "what is delivered", "events", title="How they were rewritten")
    table.columns[2].justify = "right"
    for method, number in result.methods.items():
        if number:
            table.add_row(method.value, _DELIVERED[method], str(number))
    table.add_section()
    table.add_row("rewrite", "", str(result.actions[Action.REWRITE]))
    return table


def _outcomes(result: DemoResult) -> Table:
    table = Table("outcome", "category", "events", title="What became of them")
    table.columns[2].justify = "right"
    table.add_row("allow", "", str(result.actions[Action.ALLOW]))
    for action in (Action.REWRITE, Action.REVIEW, Action.BLOCK):
        for category, counts in result.categories.items():
            if counts.get(action):
                table.add_row(action.value, category, str(counts[action]))
    for error, number in sorted(result.dead_letters.items()):
        table.add_row("dead letter", error, str(number))
    table.add_section()
    table.add_row("sent", "", str(result.sent))
    return table


def _speed(result: DemoResult) -> Table:
    table = Table(title="How fast", show_header=False)
    table.add_row("first verdict after", f"{result.first_verdict_s} s")
    table.add_row("throughput", f"{result.events_per_s} events/s")
    latency = ", ".join(f"{name} {value:.0f} ms" for name, value in result.latency_ms.items())
    table.add_row("produced to read, at most 128 on the way", latency)
    verdicts = sum(result.actions.values())
    table.add_row("from the Redis cache", f"{result.cached} of {verdicts} verdicts")
    return table
