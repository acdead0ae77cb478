"""Runs `weir` in this process, as a shell would: arguments and bytes in; status and bytes out."""

import io
import sys
from dataclasses import dataclass

import pytest

from pipelines.__main__ import main
from tests.logs import logs_of_its_own


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended."""

    status: int
    stdout: bytes
    stderr: str

    def error_line(self) -> str:
        """Return what it said on standard error, which must be one line."""
        (line,) = self.stderr.splitlines()
        return line


def weir(*arguments: object, stdin: bytes = b"") -> Finished:
    """Run a command to its end."""
    streams = [io.TextIOWrapper(io.BytesIO(content), encoding="utf-8") for content in (stdin, b"", b"")]
    with pytest.MonkeyPatch.context() as process, logs_of_its_own():
        process.setattr(sys, "argv", ["weir", *map(str, arguments)])
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            process.setattr(sys, name, stream)
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        for stream in streams[1:]:
            stream.flush()
    out, err = (stream.buffer for stream in streams[1:])
    assert isinstance(out, io.BytesIO)
    assert isinstance(err, io.BytesIO)
    return Finished(status=status, stdout=out.getvalue(), stderr=err.getvalue().decode())
