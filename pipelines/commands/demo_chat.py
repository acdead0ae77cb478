"""`weir demo chat`: a talk in the terminal with a real language model behind the guard."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import IO, TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipelines.commands.exit_statuses import ending_in_one_line
from pipelines.commands.gemma_terms import AcceptTermsOption, require_accepted
from pipelines.commands.interrupts import read_interruptibly
from pipelines.commands.options import ConfigOption
from pipelines.settings import WeirSettings, load_settings
from pipelines.terminal.texts import printable
from protector_models.mllms.gemma_wheels import GemmaFile
from protector_models.moderation.policy.policy import DEFAULT_TENANT
from services.configuration import LogSettings
from services.logs import configure_logs

if TYPE_CHECKING:
    from pipelines.demo.chat import ChatTurn
    from protector_models.mllms.mllm import LoadedGenerator

_DEADLINE_S = 120.0


def chat(
    config: ConfigOption = None,
    accept_gemma_terms: AcceptTermsOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each turn.")] = False,
) -> None:
    """Talk with a language model; each sentence is judged before it is shown, and its verdicts stand below.

    The model is Gemma 3 270M, a very small one that was never taught to chat: it comes with the extra demo-chat
    (253 MB), under its own terms. With --config and an mllm in it, that model answers instead. Everything runs in this
    process, the detector and the rewriting as they ship.

    Each line of standard input is a turn; the end of input (Ctrl-D) ends it.

    Ends with 0; 1 when a model is gone, 2 for a wrong call or configuration, or where the model is not installed or its
    terms are not accepted; 130 when interrupted.
    """
    settings = load_settings(config)
    configure_logs(LogSettings(level="error"))
    with ending_in_one_line("weir demo chat"):
        asyncio.run(_chat(settings, accepts_terms=accept_gemma_terms, as_json=as_json))


async def _chat(settings: WeirSettings, *, accepts_terms: bool, as_json: bool) -> None:
    file = None if settings.mllm.kind != "off" else require_accepted(accepts_terms=accepts_terms)
    console = Console(file=sys.stdout, highlight=False)
    typer.echo("loading the models", err=True)
    # Imported here, not above: models and their libraries take seconds.
    from pipelines.demo.chat import Chat  # noqa: PLC0415
    from services.moderators import trial_moderator  # noqa: PLC0415
    from services.policies_in_force import load_policy_in_force  # noqa: PLC0415

    policy = load_policy_in_force(settings)
    async with AsyncExitStack() as stack:
        moderator = await stack.enter_async_context(trial_moderator(_without_mllm(settings), policy))
        model = _load(settings, file)
        stack.push_async_callback(model.close)
        rules = policy.for_tenant(DEFAULT_TENANT)
        talk = Chat(model, moderator, rules, name_language=moderator.name_language)
        typer.echo(f"{model.revision} answers; Ctrl-D ends it", err=True)
        for line in read_interruptibly(_read_lines(sys.stdin.buffer)):
            if as_json:
                turn = await talk.say(line, lambda _: None)
                sys.stdout.write(turn.model_dump_json() + "\n")
            else:
                turn = await talk.say(line, _show)
                _print_verdicts(turn, console)
            sys.stdout.flush()


def _load(settings: WeirSettings, file: GemmaFile | None) -> "LoadedGenerator":
    from protector_models.mllms.mllm import TransformersMllm, load_mllm  # noqa: PLC0415
    from services.moderators import usable_cpus  # noqa: PLC0415

    if file is None:
        return load_mllm(
            settings.mllm, num_threads=usable_cpus(), timeout_s=settings.mllm.deadline_s, images=settings.images
        )
    from protector_models.mllms.base_language_model import BaseLanguageModel, unpack_gguf  # noqa: PLC0415

    if not file.unpacked.is_dir():
        typer.echo("unpacking the language model: once, for a minute or two", err=True)
        unpack_gguf(file.assemble(), file.unpacked)
    model = BaseLanguageModel.load(file.unpacked, revision=file.revision(), num_threads=usable_cpus())
    return TransformersMllm(model, deadline_s=_DEADLINE_S)


def _without_mllm(settings: WeirSettings) -> WeirSettings:
    """Return settings of what judges: no pictures come, and the model that answers is loaded apart."""
    return settings.model_copy(
        update={
            "mllm": settings.mllm.model_copy(update={"kind": "off"}),
            "images": settings.images.model_copy(update={"read": "off"}),
        }
    )


def _read_lines(stream: IO[bytes]) -> Iterator[str]:
    """Yield what the user says: each line that is not blank."""
    while True:
        if stream.isatty():
            typer.echo("> ", nl=False, err=True)
        line = stream.readline()
        if not line:
            return
        if text := line.decode("utf-8", "replace").strip():
            yield text


def _show(piece: str) -> None:
    sys.stdout.write(printable(piece))
    sys.stdout.flush()


def _print_verdicts(turn: "ChatTurn", console: Console) -> None:
    console.print()
    for finding in turn.findings:
        made = "" if finding.method is None else f" by {finding.method.value}"
        score = "" if finding.harmfulness is None else f", harmfulness {finding.harmfulness}"
        console.print(f"  [{finding.action.value}{made}: {finding.category}{score}]", style="red", markup=False)
    score = "" if turn.harmfulness is None else f", harmfulness at most {turn.harmfulness}"
    error = "" if turn.error is None else f" ({turn.error})"
    console.print(
        f"  [{turn.ending.value}{error}; passages judged: {turn.num_judged}{score}]", style="dim", markup=False
    )
