"""An output that a later run can go on with, and never with another input, policy or model than it began with."""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipelines.files.jsonl import LineReader
from pipelines.files.jsonl_files import STANDARD_STREAM
from pipelines.files.locked_file import open_locked
from pipelines.files.sidecar import Origin, Sidecar, find_sidecar, load_sidecar, save_sidecar
from protector_models.moderation.errors import ConfigurationError

SAVED_EVERY_S = 1.0
"""How often it is noted how far the output goes: so much of it, at most, is made again after a kill."""

_NOTHING = hashlib.sha256().hexdigest()
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputChoice:
    """Where results go, and what happens to those of an earlier run."""

    out: Path
    """`-` is standard output."""
    resume: bool
    overwrite: bool
    is_recorded: bool
    """Whether there is a sidecar: not for streams and devices, nor for what was read from one."""


class Output:
    """Lines that are written, batch by batch. What `sidecar` says is never more than what is on the disk."""

    def __init__(
        self, sink: IO[bytes], done: Sidecar, sidecar: Path | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Go on behind what is done.

        Args:
            sink: where to write; stands there already.
            done: how far it goes.
            sidecar: where that is noted; None notes nothing.
            clock: seconds.
        """
        self._sink = sink
        self._done = done
        self._sidecar = sidecar
        self._clock = clock
        self._saved_at = clock()
        self._hash = hashlib.sha256()

    @property
    def resumed_after(self) -> int:
        """Lines there are, those of an earlier run among them."""
        return self._done.output_lines

    def take_over(self, size_bytes: int) -> str:
        """Read what an earlier run has written, so many bytes of it; return its digest."""
        while size_bytes and (piece := self._sink.read(min(size_bytes, _PIECE_BYTES))):
            self._hash.update(piece)
            size_bytes -= len(piece)
        return self._hash.hexdigest()

    def write(self, lines: Sequence[bytes], reader: LineReader, models: Mapping[str, str]) -> None:
        """Write the lines of one batch.

        Args:
            lines: with their ends.
            reader: has read the batch's lines and none behind them.
            models: revisions of models that took part, by name.
        """
        content = b"".join(lines)
        self._sink.write(content)
        self._sink.flush()
        if self._sidecar is None:
            return
        self._hash.update(content)
        origin = self._done.origin
        self._done = Sidecar(
            origin=origin.model_copy(update={"models": {**origin.models, **models}}),
            input_lines=reader.lines_read,
            input_sha256=reader.digest,
            output_lines=self._done.output_lines + len(lines),
            output_bytes=self._done.output_bytes + len(content),
            output_sha256=self._hash.hexdigest(),
        )
        if self._clock() - self._saved_at >= SAVED_EVERY_S:
            self.save()

    def save(self) -> None:
        """Note how far the output goes, once it is on the disk."""
        if self._sidecar is None:
            return
        self._sink.flush()
        os.fsync(self._sink.fileno())
        save_sidecar(self._done, self._sidecar)
        self._saved_at = self._clock()


def choose_output(source: Path, out: Path, *, resume: bool, overwrite: bool) -> OutputChoice:
    """Return where results go, once it is known that nothing is lost by it.

    Raises:
        ConfigurationError: the options do not fit together, or to what is there.
        OSError: what is there cannot be looked at.
    """
    if resume and overwrite:
        raise ConfigurationError("--resume and --overwrite: expected one of them at most")
    is_stream = STANDARD_STREAM in {source, out}
    if not is_stream and source.exists() and out.exists() and source.samefile(out):
        raise ConfigurationError(f"--out: expected another file than IN, got {out}")
    is_recorded = not is_stream and (out.is_file() or not out.exists())
    if resume and not is_recorded:
        expected = "to be files, not -" if is_stream else f"to be files, got {out}"
        raise ConfigurationError(f"--resume: expected IN and --out {expected}")
    if out != STANDARD_STREAM:
        _require_nothing_lost(out, resume=resume, overwrite=overwrite)
    choice = OutputChoice(out=out, resume=resume, overwrite=overwrite, is_recorded=is_recorded)
    if is_recorded:
        _load_earlier(choice)
    return choice


def _require_nothing_lost(out: Path, *, resume: bool, overwrite: bool) -> None:
    if not out.parent.is_dir():
        raise ConfigurationError(f"{out}: {out.parent} is no folder; expected --out in one that is there")
    if out.is_dir():
        raise ConfigurationError(f"{out}: expected a file as --out, got a folder")
    if out.is_file() and out.stat().st_size and not (resume or overwrite):
        raise ConfigurationError(
            f"{out}: holds results already; expected --resume to go on after them, or --overwrite to replace them"
        )


def _load_earlier(choice: OutputChoice) -> Sidecar | None:
    """Return how far the output goes that this run goes on with; None where it begins one."""
    out = choice.out
    sidecar = load_sidecar(find_sidecar(out))
    if choice.resume and sidecar is None and out.is_file() and out.stat().st_size:
        raise ConfigurationError(
            f"{out}: no {find_sidecar(out).name} beside it says what it was made from; expected one to "
            "--resume, or --overwrite to replace it"
        )
    return sidecar if choice.resume else None


@contextmanager
def open_output(
    choice: OutputChoice, reader: LineReader, describe: Callable[[Collection[str]], Origin]
) -> Iterator[Output]:
    """Yield the output, its reader standing behind what is done; how far it goes is noted in the end, come what may.

    Args:
        choice: what `choose_output` has allowed.
        reader: stands at the beginning of the input.
        describe: gives what this run's results depend on; it is told the models that are to be among them.

    Raises:
        ConfigurationError: what is done is not the beginning of what this run would do, and says why; or another run
            writes there. What is there stays as it is.
    """
    if choice.out == STANDARD_STREAM:
        yield Output(sys.stdout.buffer, _begin(describe(())), None)
        return
    if choice.out.exists() and not choice.out.is_file():
        with choice.out.open("wb") as device:
            yield Output(device, _begin(describe(())), None)
        return
    with open_locked(choice.out) as sink:
        # Again: while models were loaded, another run may have begun here and ended.
        _require_nothing_lost(choice.out, resume=choice.resume, overwrite=choice.overwrite)
        if not choice.is_recorded:
            sink.truncate(0)
            yield Output(sink, _begin(describe(())), None)
            return
        sidecar = find_sidecar(choice.out)
        earlier = _load_earlier(choice)
        if earlier is None:
            begun = _begin(describe(()))
            # First: were the output emptied first, a kill between the two would leave one that fits to nothing.
            save_sidecar(begun, sidecar)
            sink.truncate(0)
            yield from _write_through(Output(sink, begun, sidecar))
            return
        _require_same_origin(choice.out, earlier.origin, describe(earlier.origin.models))
        output = Output(sink, earlier, sidecar)
        sink.seek(0)
        sha256 = output.take_over(earlier.output_bytes)
        _require_same_output(choice.out, earlier, sha256, os.fstat(sink.fileno()).st_size)
        _require_same_input(choice.out, earlier, reader)
        sink.truncate(earlier.output_bytes)
        yield from _write_through(output)


def _write_through(output: Output) -> Iterator[Output]:
    try:
        yield output
    finally:
        output.save()


def _begin(origin: Origin) -> Sidecar:
    return Sidecar(
        origin=origin,
        input_lines=0,
        input_sha256=_NOTHING,
        output_lines=0,
        output_bytes=0,
        output_sha256=_NOTHING,
    )


def _require_same_origin(out: Path, earlier: Origin, now: Origin) -> None:
    if differences := earlier.differences(now):
        raise ConfigurationError(f"--resume: {out}: {'; '.join(differences)}; expected the same, or --overwrite")


def _require_same_output(out: Path, earlier: Sidecar, sha256: str, size_bytes: int) -> None:
    if size_bytes < earlier.output_bytes:
        raise ConfigurationError(
            f"--resume: {out}: has {size_bytes} bytes; expected the {earlier.output_bytes} "
            "that were written, or --overwrite"
        )
    if sha256 != earlier.output_sha256:
        raise ConfigurationError(
            f"--resume: {out}: its {earlier.output_lines} lines were changed; expected them as they were written, or "
            "--overwrite"
        )


def _require_same_input(out: Path, earlier: Sidecar, reader: LineReader) -> None:
    if not reader.skip(earlier.input_lines):
        raise ConfigurationError(
            f"--resume: {out}: was made from {earlier.input_lines} lines; IN has {reader.lines_read}; expected the "
            "same input, or a longer one that begins with it"
        )
    if reader.digest != earlier.input_sha256:
        raise ConfigurationError(
            f"--resume: {out}: was made from other lines than the first {earlier.input_lines} of IN; expected the same "
            "input, or a longer one that begins with it"
        )
