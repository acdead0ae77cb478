"""Conversations in JSONL files: lines in, one line out for each, in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.encoded import EncodedVerdict, FailedValue
from protector_models.moderation.verdict import Failure

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"


class ErrorRecord(BaseModel):
    """Stands in the output for a line that could not be moderated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    line: Annotated[int, Field(ge=1)]
    """The line's number in the input, blank lines counted."""
    event_id: str | None
    """None where the line is not an event."""
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

    stream: IO[bytes]
    max_bytes: int
    """No more than this of a line, and one byte, is held in memory."""
    lines_read: int = 0
    blank_lines: int = 0
    bytes_read: int = 0

    def __iter__(self) -> Iterator[Line]:
        """Yield the lines that are not blank, counting the others."""
        while raw := self.stream.readline(self.max_bytes + 2 + len(_BYTE_ORDER_MARK)):
            self.lines_read += 1
            self.bytes_read += len(raw)
            is_cut = self._skip_rest(raw)
            if self.lines_read == 1:
                raw = raw.removeprefix(_BYTE_ORDER_MARK)
            content = raw[: self.max_bytes + 1] if is_cut else raw.strip(_BLANKS)[: self.max_bytes + 1]
            if content:
                yield Line(number=self.lines_read, content=content)
            else:
                self.blank_lines += 1

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
    event_id = None if result.event is None else result.event.event_id
    record = ErrorRecord(line=line.number, event_id=event_id, error=result.failure)
    return record.model_dump_json().encode() + b"\n"
