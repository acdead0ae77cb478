"""What a training run shows on a terminal: its bars, and what was made."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from protector_models.checkpoints.cards import CheckpointCard, WeightsCard

if TYPE_CHECKING:
    from protector_models.training.adapter_training import AdapterProgress
    from protector_models.training.resumable import TrainingProgress


def make_bars() -> Progress:
    """Make bars on standard error, none yet, to be entered."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def add_training(progress: Progress, num_steps: int) -> "Callable[[TrainingProgress], None]":
    """Add the bar of a training run; returns what is called after each of its steps."""
    training = progress.add_task("training", total=num_steps)

    def report(state: "TrainingProgress") -> None:
        progress.update(training, completed=state.step, description=f"training, loss {state.loss:.3f}")

    return report


@contextmanager
def adapter_bars() -> "Iterator[AdapterProgress]":
    """Show the steps of an adapter's training, and the held-out rows that are measured, on standard error."""
    # Imported here, not above: torch takes seconds, and every other command would pay for it.
    from protector_models.training.adapter_training import AdapterProgress  # noqa: PLC0415

    with make_bars() as progress:
        training = progress.add_task("reading the base", total=None)
        measuring = progress.add_task("measuring the held-out slice", total=None)

        def start(num_steps: int, num_measured: int) -> None:
            progress.update(training, total=num_steps, description="training")
            progress.update(measuring, total=num_measured)

        origin: tuple[float, int] | None = None

        def step(state: "TrainingProgress") -> None:
            nonlocal origin
            now, speed = time.monotonic(), ""
            if origin is None:
                # What came before it, the measuring of the base, is no training.
                origin = now, state.num_tokens
            elif now > origin[0]:
                speed = f", {(state.num_tokens - origin[1]) / (now - origin[0]):.0f} tokens/s"
            progress.update(training, completed=state.step, description=f"training, loss {state.loss:.3f}{speed}")

        yield AdapterProgress(start=start, step=step, measured=lambda num: progress.advance(measuring, num))


def tabulate_card(card: WeightsCard, directory: Path) -> Table:
    """Return what a card says of the held-out slice."""
    table = Table(title=f"{card.name} in {directory}, held-out slice", show_header=False)
    if isinstance(card, CheckpointCard):
        table.add_row("threshold", f"{card.threshold:.3f}")
    for name, value in card.validation.items():
        table.add_row(name, "-" if value is None else f"{value}")
    return table
