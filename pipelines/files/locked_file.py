"""A file that one process at a time writes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from protector_models.moderation.errors import ConfigurationError


@contextmanager
def open_locked(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to read and to append to, as it is, or a new one; nobody else has it open in this way meanwhile.

    The kernel gives the lock back with the file, also where the process is killed. A file that was not there is removed
    again where a `ConfigurationError` ends the work: what is refused leaves nothing.

    Raises:
        ConfigurationError: another run has it.
        OSError: it cannot be opened, or its file system knows no locks.
    """
    is_new = not path.exists()
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(path) from None
        if not _is_still(path, file):  # what refused before us has removed it: our lock keeps nobody out
            raise _in_use(path)
        try:
            yield file
        except ConfigurationError:
            if is_new and not os.fstat(file.fileno()).st_size and _is_still(path, file):
                path.unlink()
            raise


def _is_still(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _in_use(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path}: another run writes to it; expected to be the only one, or another --out")
