"""`weir rewrite`: what becomes of a text, and what was changed in it."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from pipelines.commands.interrupts import EXIT_INTERRUPTED, read_interruptibly
from pipelines.commands.options import ConfigOption
from pipelines.commands.rewritten import Rewritten, allow_only, edit_texts, moderate_texts
from pipelines.commands.rewritten_texts import as_json, print_rewritten
from pipelines.settings import WeirSettings, load_settings
from pipelines.terminal.texts import decode_argument
from protector_models.images.settings import ImageSettings
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.verdict import RewriteMethod
from services.logs import configure_logs

EXIT_FAILED = 1
EXIT_HELD_BACK = 3

_STANDARD_INPUT = "-"
_BATCH_TEXTS = 64
_BATCH_BYTES = 1 << 18

_Rewrite = Callable[[Sequence[str]], Awaitable[list[Rewritten]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """How texts shall be rewritten."""

    settings: WeirSettings
    prompt: str
    tenant: str
    method: RewriteMethod | None
    """None: those of the policy."""


def rewrite(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="The text to rewrite; - takes each line of standard input as one.")
    ],
    prompt: Annotated[str, typer.Option(help="What the text answers; the detector reads both.")] = "",
    policy: Annotated[
        Path | None, typer.Option(help="Policy file; default: the one of the configuration, or else Weir's own.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Whose rules of the policy hold.")] = "default",
    method: Annotated[
        RewriteMethod | None, typer.Option(help="Rewrite in this one way, whatever the policy says.")
    ] = None,
    config: ConfigOption = None,
    with_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each text.")] = False,
) -> None:
    """Show what becomes of a text: before, after, how harmful both are, and every change.

    The text takes the whole path, in this process: the detector reads it, and if the policy wants it rewritten, the
    policy's methods for its category are tried in order until the detector finds nothing in what was made. A text that
    is fine is delivered as it is. Deleted words are red and struck through, new ones green; where there are no colours:
    [-gone-]{+new+}.

    --method edit gives the text to the edit model even if the detector finds nothing in it. Any other --method is tried
    where the policy wants a rewrite; what does not pass gives way to the policy's own text.

    Control characters are shown as dots (--json has them escaped). Bytes that are no UTF-8 are read as replacement
    characters.

    Ends with 0 when every text has something to deliver, 3 when one is held back; 1 when one could not be judged or a
    model is gone, 2 for a wrong call or configuration, 130 when interrupted.
    """
    settings = load_settings(config)
    if policy is not None:
        settings = settings.model_copy(update={"policy": policy})
    configure_logs(settings.log)
    request = _Request(settings=settings, prompt=decode_argument(prompt), tenant=tenant, method=method)
    are_many = text == _STANDARD_INPUT
    batches = _read_batches(sys.stdin.buffer) if are_many else iter([[decode_argument(text)]])
    endings: Counter[int] = Counter()
    console = Console(file=sys.stdout)

    def show(rewritten: Rewritten) -> None:
        endings[_status(rewritten)] += 1
        if with_json:
            sys.stdout.write(json.dumps(as_json(rewritten)) + "\n")
        else:
            print_rewritten(rewritten, console, title=f"text {endings.total()}" if are_many else "weir rewrite")

    try:
        asyncio.run(_rewrite_all(request, batches, show, show_progress=are_many))
    except KeyboardInterrupt:
        sys.stdout.flush()
        typer.echo(f"interrupted after {endings.total()} texts", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    for status in (EXIT_FAILED, EXIT_HELD_BACK):
        if endings[status]:
            raise typer.Exit(status)


def _read_batches(stream: IO[bytes]) -> Iterator[list[str]]:
    """Yield the lines of a stream, an empty one too, in batches; from a terminal one by one."""
    max_texts = 1 if stream.isatty() else _BATCH_TEXTS
    batch: list[str] = []
    num_bytes = 0
    for line in stream:
        batch.append(line.rstrip(b"\r\n").decode("utf-8", "replace"))
        num_bytes += len(line)
        if len(batch) >= max_texts or num_bytes >= _BATCH_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


async def _rewrite_all(
    request: _Request, batches: Iterator[list[str]], show: Callable[[Rewritten], None], *, show_progress: bool
) -> None:
    progress = Progress(
        TextColumn("rewriting: {task.completed} texts"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        # In a terminal that also shows the results there is nothing to add to them.
        disable=not show_progress or not sys.stderr.isatty() or sys.stdout.isatty(),
    )
    async with AsyncExitStack() as stack:
        rewrite_texts = await _load(request, stack)
        with progress:
            task = progress.add_task("rewriting", total=None)
            for batch in read_interruptibly(batches):
                for rewritten in await rewrite_texts(batch):
                    show(rewritten)
                sys.stdout.flush()
                progress.advance(task, len(batch))


async def _load(request: _Request, stack: AsyncExitStack) -> _Rewrite:
    """Return what rewrites texts as requested; the models are given up when the stack ends."""
    # Imported here, not above: models and their libraries take a second, and every other command would pay for them.
    from services.moderators import in_process_models, trial_moderator  # noqa: PLC0415
    from services.policies_in_force import require_fitting_policy  # noqa: PLC0415

    settings = request.settings
    policy = _policy(request)
    require_fitting_policy(policy, settings)
    if request.method is RewriteMethod.EDIT:
        models = await stack.enter_async_context(in_process_models(_for_texts_alone(settings)))
        detoxifier = models.detoxifier
        assert detoxifier is not None  # the policy needs one and fits
        return lambda texts: edit_texts(
            models.detector, detoxifier, policy.for_tenant(request.tenant), texts, prompt=request.prompt
        )
    moderator = await stack.enter_async_context(trial_moderator(settings, policy))
    return lambda texts: moderate_texts(moderator, texts, prompt=request.prompt, tenant=request.tenant)


def _for_texts_alone(settings: WeirSettings) -> WeirSettings:
    """Return settings without the models that an edit does not ask: they may take long to load."""
    return settings.model_copy(update={"images": ImageSettings(read="off"), "mllm": MllmSettings()})


def _policy(request: _Request) -> Policy:
    from protector_models.policies.policy_file import load_policy  # noqa: PLC0415  # takes YAML along

    policy = load_policy(request.settings.policy)
    return policy if request.method is None else allow_only(policy, request.method)


def _status(rewritten: Rewritten) -> int:
    if rewritten.error is not None:
        return EXIT_FAILED
    return EXIT_HELD_BACK if rewritten.after is None else 0
