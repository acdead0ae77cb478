"""How a command ends: one table from errors to exit statuses, and the one line that is said.

An error that stands in no table is a fault in the program, and ends with its traceback.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer

from pipelines.commands.interrupts import EXIT_INTERRUPTED
from protector_models.moderation.errors import (
    ConfigurationError,
    EndlessComputationError,
    IncompleteError,
    InvalidEventError,
    UnansweredError,
    WeirError,
)
from protector_models.records.labelled_records import RecordError

EXIT_UNAVAILABLE = 1
EXIT_MISCONFIGURED = 2
EXIT_UNANSWERED = 3

Statuses = Mapping[type[BaseException], int]

STATUSES: Statuses = {
    # Something that may be there the next time: a model, a broker, a worker that was stopped.
    WeirError: EXIT_UNAVAILABLE,
    # What whoever called has to change: an option, a setting, a file, the data.
    ConfigurationError: EXIT_MISCONFIGURED,
    InvalidEventError: EXIT_MISCONFIGURED,
    RecordError: EXIT_MISCONFIGURED,
    UnansweredError: EXIT_UNANSWERED,
    KeyboardInterrupt: EXIT_INTERRUPTED,
}
"""Of every command; the class that is nearest to an error's own counts."""

BAD_FILES: Statuses = {OSError: EXIT_MISCONFIGURED}
"""Of commands that read and write files that the call names, without a check of their own before."""

BAD_VALUES: Statuses = {ValueError: EXIT_MISCONFIGURED}
"""Of commands whose options and data are checked by what uses them."""

FAILED_TRAINING: Statuses = {
    **BAD_FILES,
    **BAD_VALUES,
    FloatingPointError: EXIT_UNAVAILABLE,
    RuntimeError: EXIT_UNAVAILABLE,
}
"""Of commands that train: a loss that is no number, a device without memory."""


def status_of(error: BaseException, *, also: Statuses | None = None) -> int | None:
    """Return the exit status for an error; None where it is a fault in the program."""
    statuses = {**STATUSES, **(also or {})}
    return next((statuses[kind] for kind in type(error).__mro__ if kind in statuses), None)


def tell_and_find_status(error: BaseException, *, command: str, also: Statuses | None = None) -> int | None:
    """Say one line on standard error, and return the exit status; where it is a fault in the program, None and nothing.

    Args:
        error: what ends the command.
        command: its name, which the line begins with.
        also: errors that are not faults in this command.
    """
    status = status_of(error, also=also)
    if status is not None and not isinstance(error, KeyboardInterrupt):
        typer.echo(f"{command}: {error}", err=True)
    return status


def holds_the_process(error: BaseException) -> bool:
    """Tell whether an error says that a thread of this process never ends: at its exit Python would wait for it."""
    cause = error.cause if isinstance(error, IncompleteError) else error
    return isinstance(cause, EndlessComputationError)


@contextmanager
def ending_in_one_line(command: str, *, also: Statuses | None = None) -> Iterator[None]:
    """Let the errors of the table end a command with one line on standard error and their status.

    Args:
        command: its name, which the line begins with.
        also: errors that are not faults in this command.

    Raises:
        typer.Exit: with the status.
    """
    try:
        yield
    except typer.Exit:
        raise
    except BaseException as error:
        status = tell_and_find_status(error, command=command, also=also)
        if status is None:
            raise
        raise typer.Exit(status) from error
