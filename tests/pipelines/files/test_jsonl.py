"""JSONL files: one line out for each line in, in order, whatever the bytes are."""

import asyncio
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.files.jsonl import ErrorRecord, Line, LineReader, output_line
from protector_models.moderation.verdict import ModeratedConversation
from protector_models.moderation.wire.encoded import moderate_encoded
from tests.wire import encode, fake_moderator

LIMIT = 300
BOM = b"\xef\xbb\xbf"

SHORT = encode("tenant", "metadata", messages=[{"role": "user", "content": "a"}], response="b")
assert len(SHORT) < LIMIT

BLANKS = st.text(" \t\r", max_size=2 * LIMIT).map(str.encode)
DAMAGED = st.builds(
    lambda at, byte: SHORT[:at] + bytes([byte]) + SHORT[at + 1 :],
    st.integers(0, len(SHORT) - 1),
    st.integers(0, 255).filter(lambda byte: byte != ord("\n")),
)
LINES = st.one_of(
    st.just(SHORT),
    DAMAGED,
    st.binary(max_size=40).map(lambda value: value.replace(b"\n", b"")),
    st.builds(lambda value, times: value * times, st.sampled_from([b"x", b"\xff", b"[", b"\x00"]), st.integers(0, 700)),
    st.builds(lambda before, after: before + SHORT + after, BLANKS, BLANKS),
    st.builds(lambda blanks, rest: SHORT + blanks + rest, BLANKS, st.sampled_from([b"x", SHORT])),
    BLANKS,
)


def read(content: bytes, *, max_bytes: int = LIMIT) -> tuple[list[Line], LineReader]:
    reader = LineReader(stream=io.BytesIO(content), max_bytes=max_bytes)
    return list(reader), reader


def moderated_lines(content: bytes, *, max_bytes: int = LIMIT) -> list[bytes]:
    """Moderate a file as `weir moderate` does."""
    lines, _ = read(content, max_bytes=max_bytes)
    values = [line.content for line in lines]
    results = asyncio.run(moderate_encoded(fake_moderator(), values, max_bytes=max_bytes))
    return [output_line(line, result) for line, result in zip(lines, results, strict=True)]


@given(lines=st.lists(LINES, max_size=6), last_newline=st.booleans(), mark=st.booleans())
def test_every_line_that_is_not_blank_gives_one_line_in_its_place(
    lines: list[bytes], last_newline: bool, mark: bool
) -> None:
    content = (BOM if mark else b"") + b"\n".join(lines) + (b"\n" if last_newline else b"")
    split = content.removeprefix(BOM).split(b"\n")
    expected = {number: text for number, line in enumerate(split, 1) if (text := line.strip(b" \t\r"))}
    out = moderated_lines(content)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in out)
    assert len(out) == len(expected)
    for record, (number, text) in zip((json.loads(line) for line in out), expected.items(), strict=True):
        if "line" in record:
            assert record["line"] == number
            assert text != SHORT or len(split[number - 1]) > LIMIT
        else:
            assert len(text) == len(SHORT)


@given(st.binary(max_size=300))
def test_any_bytes_are_counted_to_the_last(content: bytes) -> None:
    lines, reader = read(content, max_bytes=7)
    assert reader.bytes_read == len(content)
    assert reader.lines_read == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")
    assert len(lines) + reader.blank_lines == reader.lines_read
    assert all(1 <= len(line.content) <= 8 for line in lines)


@given(lines=st.lists(LINES, max_size=6), skipped=st.integers(0, 7), end=st.sampled_from([b"\n", b"\r\n", b" \n"]))
def test_lines_that_are_skipped_count_and_give_the_digest_that_reading_them_gives(
    lines: list[bytes], skipped: int, end: bytes
) -> None:
    content = b"".join(line + b"\n" for line in lines)
    reader = LineReader(stream=io.BytesIO(content), max_bytes=LIMIT)
    assert reader.skip(skipped) == (skipped <= len(lines))
    beginning = read(b"".join(line + end for line in lines[:skipped]))[1]
    assert reader.digest == beginning.digest
    rest = list(reader)
    whole, whole_reader = read(content)
    assert rest == [line for line in whole if line.number > skipped]
    assert (reader.digest, reader.blank_lines) == (whole_reader.digest, whole_reader.blank_lines)


def test_lines_are_numbered_with_the_blank_ones() -> None:
    lines, reader = read(b"\n a \r\n\r\n \t \nb")
    assert [(line.number, line.content) for line in lines] == [(2, b"a"), (5, b"b")]
    assert (reader.lines_read, reader.blank_lines) == (5, 3)


def test_only_a_newline_ends_a_line() -> None:
    text = "one\rtwo\x0bthree\x0cfour\x85five\u2028six\u2029seven\x1c\x1d\x1e".encode()
    lines, _ = read(text + b"\n" + text)
    assert [line.content for line in lines] == [text, text]


def test_separators_of_other_alphabets_inside_a_string_do_not_break_a_line() -> None:
    value = json.dumps({**json.loads(encode()), "response": "one\u2028two\u2029three"}, ensure_ascii=False).encode()
    (out,) = moderated_lines(value, max_bytes=10_000)
    assert ModeratedConversation.model_validate_json(out).response == "one\u2028two\u2029three"


def test_a_byte_order_mark_is_skipped_before_the_first_line_alone() -> None:
    first, second = moderated_lines(BOM + SHORT + b"\n" + BOM + SHORT)
    assert "action" in json.loads(first)
    assert json.loads(second)["line"] == 2


def test_an_empty_file_gives_nothing_and_a_mark_alone_is_a_blank_line() -> None:
    assert read(b"")[0] == []
    lines, reader = read(BOM)
    assert (lines, reader.blank_lines) == ([], 1)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("start", [b"", BOM])
def test_a_line_of_just_the_limit_is_read_and_one_byte_more_is_refused(start: bytes, end: bytes) -> None:
    assert "action" in json.loads(moderated_lines(start + SHORT + end, max_bytes=len(SHORT))[0])
    refused = json.loads(moderated_lines(start + SHORT + end, max_bytes=len(SHORT) - 1)[0])
    assert (refused["line"], refused["error"]["error"]) == (1, "InvalidEvent")


@pytest.mark.parametrize("blanks", [1, 5, LIMIT, 5_000_000])
def test_a_long_line_is_never_taken_for_the_event_at_its_beginning(blanks: int) -> None:
    refused, after = moderated_lines(SHORT + b" " * blanks + b"x" * LIMIT + b"\n" + SHORT)
    assert json.loads(refused)["error"]["stage"] == "decode"
    assert "action" in json.loads(after)


def test_a_line_that_begins_with_very_many_blanks_is_not_lost() -> None:
    refused, after = moderated_lines(b" " * 5_000_000 + SHORT + b"\n" + SHORT)
    assert (json.loads(refused)["line"], json.loads(refused)["error"]["stage"]) == (1, "decode")
    assert "action" in json.loads(after)


def test_a_very_long_blank_line_is_blank() -> None:
    lines, reader = read(b" " * 5_000_000 + b"\nx")
    assert [(line.number, line.content) for line in lines] == [(2, b"x")]
    assert reader.blank_lines == 1


def test_no_more_of_a_line_is_held_than_the_limit_allows() -> None:
    asked: list[int] = []

    class Stream(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            asked.append(size)
            return super().readline(size)

    (line,) = LineReader(stream=Stream(b"x" * 10_000_000), max_bytes=LIMIT)
    assert len(line.content) == LIMIT + 1
    assert all(0 < size <= 1 << 20 for size in asked)


def test_an_error_record_names_the_line_and_the_event_where_there_is_one() -> None:
    no_event, unanswered = moderated_lines(b"\n[]\n" + encode(response=None), max_bytes=10_000)
    first, second = ErrorRecord.model_validate_json(no_event), ErrorRecord.model_validate_json(unanswered)
    assert (first.line, first.event_id, first.error.error) == (2, None, "InvalidEvent")
    assert (second.line, second.event_id, second.error.error) == (3, "event-1", "NoMllmConfigured")
