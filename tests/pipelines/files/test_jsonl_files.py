"""Files that lines are read from: packed ones are unpacked, and what holds no lines of JSON is refused as a whole."""

import gzip
import io
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.files.jsonl_files import open_jsonl
from protector_models.moderation.errors import ConfigurationError
from tests.wire import encode

BOM = b"\xef\xbb\xbf"
EVENT = encode()
LAW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
PACKINGS: list[Callable[[bytes], bytes]] = [gzip.compress, zstandard.compress]
NAMES = {gzip.compress: "gzip", zstandard.compress: "zstd"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "in.jsonl"


def read(file: Path) -> bytes:
    with open_jsonl(file) as lines:
        return lines.stream.read()


def refusal(file: Path, content: bytes) -> str:
    """Return what is said of a file before anything of it is read."""
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught, open_jsonl(file):
        pytest.fail("it was opened")
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


def lines_before_the_damage(file: Path) -> tuple[list[bytes], str]:
    """Return the lines that can be read of a file, and what is said then."""
    lines: list[bytes] = []
    with open_jsonl(file) as opened, pytest.raises(ConfigurationError) as caught:
        lines.extend(opened.stream)
    return lines, str(caught.value)


@LAW
@given(
    content=st.lists(st.binary(max_size=50), max_size=5).map(lambda parts: b'{"a"' + b"\n".join(parts)),
    pack=st.sampled_from([bytes, *PACKINGS]),
    cuts=st.lists(st.integers(0, 300), max_size=3),
)
def test_packed_or_not_in_one_part_or_several_the_same_is_read(
    file: Path, content: bytes, pack: Callable[[bytes], bytes], cuts: list[int]
) -> None:
    ends = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    file.write_bytes(b"".join(pack(content[start:end]) for start, end in pairwise(ends)))
    assert read(file) == content


def test_an_empty_file_is_read_packed_or_not(file: Path) -> None:
    for content in (b"", *(pack(b"") for pack in PACKINGS)):
        file.write_bytes(content)
        assert read(file) == b""


def test_a_packed_file_of_any_size_is_unpacked_piece_by_piece(file: Path) -> None:
    for pack in PACKINGS:
        file.write_bytes(pack(EVENT + b" " * 20_000_000 + b"\nx"))
        with open_jsonl(file) as lines:
            assert lines.size_bytes is None
            assert [len(line) for line in iter(lambda: lines.stream.readline(1 << 20), b"")][-1] == 1


def test_zeros_behind_what_gzip_packed_are_no_damage(file: Path) -> None:
    file.write_bytes(gzip.compress(EVENT) + bytes(3_000))
    assert read(file) == EVENT


@pytest.mark.parametrize("pack", PACKINGS)
def test_of_a_cut_file_all_whole_lines_that_can_be_unpacked_are_read_first(
    file: Path, pack: Callable[[bytes], bytes]
) -> None:
    written = [encode(event_id=f"e{at}") + b"\n" for at in range(5)]
    file.write_bytes(pack(b"".join(written)) + pack(b"".join(written))[:-9])
    lines, message = lines_before_the_damage(file)
    assert lines[:5] == written
    assert lines == (written * 2)[: len(lines)]
    assert message == (f"{file}: what {NAMES[pack]} packed ends in the middle; whole lines before that are moderated")


@LAW
@given(pack=st.sampled_from(PACKINGS), at=st.integers(8, 400), value=st.integers(0, 255))
def test_a_byte_that_is_wrong_gives_an_error_or_other_lines_and_never_another_exception(
    file: Path, pack: Callable[[bytes], bytes], at: int, value: int
) -> None:
    packed = bytearray(pack(b"".join(encode(event_id=f"e{number}") + b"\n" for number in range(40))))
    packed[at % len(packed)] = value
    file.write_bytes(packed)
    with suppress(ConfigurationError):
        read(file)


def test_what_stands_behind_packed_data_is_damage(file: Path) -> None:
    file.write_bytes(gzip.compress(EVENT + b"\n") + EVENT)
    lines, message = lines_before_the_damage(file)
    assert lines == [EVENT + b"\n"]
    assert "what gzip packed is damaged" in message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("pack", [bytes, *PACKINGS])
def test_another_encoding_is_refused_with_the_one_that_is_expected(
    file: Path, encoding: str, mark: bool, pack: Callable[[bytes], bytes]
) -> None:
    message = refusal(file, pack((("\ufeff" if mark else "") + EVENT.decode()).encode(encoding)))
    assert message.endswith("; expected UTF-8")
    if mark:
        assert encoding[:6].upper() in message


@pytest.mark.parametrize("start", [b"", BOM, b"\n \r\n", BOM + b"\n\t"])
@pytest.mark.parametrize("indent", [None, 1, "\t"])
@pytest.mark.parametrize("items", [0, 1, 3])
def test_an_array_is_refused(file: Path, start: bytes, indent: int | str | None, items: int) -> None:
    content = json.dumps([json.loads(EVENT)] * items, indent=indent).encode()
    assert "one JSON object a line expected, got an array" in refusal(file, start + content)


@pytest.mark.parametrize("start", [b"", BOM, b"\n\n", b"  "])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("items", [1, 3])
def test_an_object_on_several_lines_is_refused(file: Path, start: bytes, end: bytes, items: int) -> None:
    content = json.dumps(json.loads(EVENT), indent=2).encode().replace(b"\n", end)
    assert "one JSON object a line expected" in refusal(file, start + end.join([content] * items))


@pytest.mark.parametrize("items", [2, 3])
@pytest.mark.parametrize("between", [b"\r", b" \r", b"\r\r ", b"\r\n\r"])
def test_lines_that_end_with_a_carriage_return_alone_are_refused(file: Path, items: int, between: bytes) -> None:
    if b"\n" in between:
        file.write_bytes(between.join([EVENT] * items))
        assert read(file) == between.join([EVENT] * items)
        return
    assert "carriage return alone" in refusal(file, between.join([EVENT] * items) + b"\r")


@pytest.mark.parametrize(
    ("first_bytes", "form"), [(b"BZh9", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"PK\x03\x04", "zip"), (b"PAR1", "Parquet")]
)
def test_files_of_other_forms_are_refused_by_name(file: Path, first_bytes: bytes, form: str) -> None:
    assert refusal(file, first_bytes + b"...") == (
        f"is {form} by its first bytes; expected lines of JSON, plain, gzip or zstd"
    )


@pytest.mark.parametrize(
    "content",
    [
        BOM + EVENT,
        EVENT + b"\r\n" + EVENT,
        b"nonsense\n[",
        b"{}\n[]",
        b"{",
        EVENT + b"\r",
        '{"a": "\u2028}\r{"}'.encode()[:9],
    ],
)
def test_single_bad_lines_and_known_oddities_are_left_to_the_reader(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert read(file) == content


def test_standard_input_is_waited_for_no_longer_than_its_first_line_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(io.RawIOBase):
        """A pipe into which one line was written, and no end."""

        def __init__(self) -> None:
            self.written = [EVENT[:20], EVENT[20:] + b"\n"]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has a wider Buffer
            assert self.written, "it would wait for ever"
            piece = self.written.pop(0)
            buffer[: len(piece)] = piece
            return len(piece)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Slow())))
    with open_jsonl(Path("-")) as lines:
        assert lines.stream.readline() == EVENT + b"\n"
