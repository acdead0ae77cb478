"""Conversations in JSONL files: lines in, one line out for each, in order."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from protector_models.moderation.verdict import Failure
from protector_models.moderation.wire.encoded import EncodedVerdict, FailedValue

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"


class ErrorRecord(BaseModel):
    """Stands in the output for a line that could not be moderated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    line: Annotated[int, Field(ge=1)]
    """The line's number in the input, blank lines counted."""
    event_id: str | None
    """None where it cannot be read from the line."""
    error: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the input that is not blank."""

    number: int
    """Counted from 1, blank lines included."""
    content: bytes
    """Without its end; cut to one byte more than the limit if it is longer, which `decode_event` then refuses."""


@dataclass(slots=True, kw_only=True)
class LineReader:
    """Reads lines of bounded length from a binary stream. Only a newline ends a line."""

    stream: IO[bytes] | io.BufferedIOBase
    max_bytes: int
    """No more than this of a line, and one byte, is held in memory."""
    lines_read: int = 0
    blank_lines: int = 0
    bytes_read: int = 0
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """SHA-256 of the content of all lines read, blank ones as empty, each with a newline.

        So files that differ in what is read of them in nothing, such as in the ends of lines, have the same.
        """
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[Line]:
        """Yield the lines that are not blank, counting the others."""
        while (content := self._read()) is not None:
            if content:
                yield Line(number=self.lines_read, content=content)

    def skip(self, num_lines: int) -> bool:
        """Read so many lines, blank ones among them, and yield none; tell whether there were as many."""
        return all(self._read() is not None for _ in range(num_lines))

    def _read(self) -> bytes | None:
        """Return what the next line holds, nothing of a blank one; None at the end."""
        raw = self.stream.readline(self.max_bytes + 2 + len(_BYTE_ORDER_MARK))
        if not raw:
            return None
        self.lines_read += 1
        self.bytes_read += len(raw)
        is_cut = self._skip_rest(raw)
        if self.lines_read == 1:
            raw = raw.removeprefix(_BYTE_ORDER_MARK)
        content = raw[: self.max_bytes + 1] if is_cut else raw.strip(_BLANKS)[: self.max_bytes + 1]
        self.blank_lines += not content
        self._hash.update(content + b"\n")
        return content

    def _skip_rest(self, raw: bytes) -> bool:
        """Read on to the end of a line; tell whether there was more than blanks, so that what is held is not all."""
        is_cut = False
        while raw and not raw.endswith(b"\n"):
            raw = self.stream.readline(1 << 20)
            self.bytes_read += len(raw)
            is_cut = is_cut or bool(raw.strip(_BLANKS))
        return is_cut


def output_line(line: Line, result: EncodedVerdict | FailedValue) -> bytes:
    """Return the line of the output that stands for a line of the input, with its end."""
    if isinstance(result, EncodedVerdict):
        return result.value + b"\n"
    record = ErrorRecord(line=line.number, event_id=result.event_id, error=result.failure)
    return record.model_dump_json().encode() + b"\n"
