"""Outputs that a later run goes on with: the same bytes after any kill, a refusal where anything else has changed."""

import io
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.files import resumable_output
from pipelines.files.jsonl import LineReader
from pipelines.files.resumable_output import Output, choose_output, open_output
from pipelines.files.sidecar import Origin, Sidecar, find_sidecar, load_sidecar, save_sidecar
from protector_models.moderation.errors import ConfigurationError
from tests.wire import encode

ORIGIN = Origin(weir="1", policy="policy@1", models={"detector": "d@1"}, settings={"a": 1})
LINES = [encode(event_id=f"e{at}") if at % 3 else b"nonsense" * (at % 2) for at in range(9)]


def describe(_: Collection[str], origin: Origin = ORIGIN) -> Origin:
    return origin


class Killed(BaseException):
    """Ends a run where it stands."""


def moderate(
    content: bytes, out: Path, *, resume: bool = True, batch: int = 2, origin: Origin = ORIGIN, kill_after: int = 1_000
) -> None:
    """Write a line for each as `weir moderate` does, without its models; it dies after some batches, unannounced."""
    reader = LineReader(stream=io.BytesIO(content), max_bytes=10_000)
    choice = choose_output(Path("in.jsonl"), out, resume=resume, overwrite=not resume)
    with open_output(choice, reader, lambda models: describe(models, origin)) as output:
        lines = iter(reader)
        while taken := [line for _, line in zip(range(batch), lines, strict=False)]:
            output.write([b"%d: %b\n" % (line.number, line.content[::-1]) for line in taken], reader, {})
            kill_after -= 1
            if not kill_after:
                raise Killed


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def whole_output(content: bytes) -> bytes:
    with TemporaryDirectory() as folder:
        moderate(content, Path(folder) / "whole.jsonl")
        return (Path(folder) / "whole.jsonl").read_bytes()


WHOLE = whole_output(b"\n".join(LINES))


@given(
    ends=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3_000)), max_size=4),
    grown=st.integers(0, len(LINES)),
)
def test_after_any_kills_and_growth_of_the_input_the_output_is_that_of_one_run(
    ends: list[tuple[int, int, int]], grown: int
) -> None:
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out.jsonl"
        for number, (batch, kill_after, lost) in enumerate(ends):
            # What was noted before is what a kill leaves, with more of the output behind it, cut anywhere.
            sidecar, noted = find_sidecar(out), Path(folder) / "noted"
            moderate(b"\n".join(LINES[:grown]), out, batch=batch)
            shutil.copy(sidecar, noted)
            with suppress(Killed):
                moderate(b"\n".join(LINES), out, batch=batch, kill_after=kill_after)
            earlier = load_sidecar(noted)
            assert earlier is not None
            shutil.copy(noted, sidecar)
            content = out.read_bytes()
            out.write_bytes(content[: max(earlier.output_bytes, len(content) - lost)])
            grown = min(len(LINES), grown + number)
        moderate(b"\n".join(LINES), out)
        assert out.read_bytes() == WHOLE


def copy_all(out: Path, folder: Path) -> Path:
    """What a kill at this moment would leave, in another folder."""
    shutil.copytree(out.parent, folder, ignore=lambda *_: {folder.name})
    return folder / out.name


@pytest.mark.parametrize("earlier", [None, ORIGIN, ORIGIN.model_copy(update={"policy": "policy@0"})])
@pytest.mark.parametrize("moment", ["before the output is emptied", "before anything else is noted"])
def test_a_kill_in_the_first_moments_leaves_what_can_be_resumed(
    out: Path, moment: str, earlier: Origin | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if earlier is not None:
        moderate(b"of another run\nand so on", out, origin=earlier)
    left: list[Path] = []

    def save_and_die(sidecar: Sidecar, path: Path) -> None:
        save_sidecar(sidecar, path)
        if moment == "before the output is emptied":
            left.append(copy_all(out, out.parent / f"left{len(left)}"))

    monkeypatch.setattr(resumable_output, "save_sidecar", save_and_die)
    reader = LineReader(stream=io.BytesIO(b"\n".join(LINES)), max_bytes=10_000)
    with open_output(choose_output(Path("in"), out, resume=False, overwrite=True), reader, describe) as output:
        if moment != "before the output is emptied":
            output.write([b"of this run\n"], reader, {})
            left.append(copy_all(out, out.parent / "left"))
    moderate(b"\n".join(LINES), left[0])
    assert left[0].read_bytes() == WHOLE


@pytest.mark.parametrize(("resume", "overwrite"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("source", ["in.jsonl", "-"])
def test_a_second_run_on_the_same_output_is_refused_and_harms_nothing(
    out: Path, source: str, resume: bool, overwrite: bool
) -> None:
    resume = resume and source != "-"
    second = choose_output(Path(source), out, resume=resume, overwrite=overwrite)
    reader = LineReader(stream=io.BytesIO(b"\n".join(LINES)), max_bytes=10_000)
    with open_output(choose_output(Path(source), out, resume=False, overwrite=False), reader, describe) as output:
        output.write([b"of the first\n"], reader, {})
        with pytest.raises(ConfigurationError, match="another run writes to it"):
            open_output(second, reader, describe).__enter__()
    assert out.read_bytes() == b"of the first\n"


def test_a_run_that_begins_while_another_one_ends_loses_nothing_of_it(out: Path) -> None:
    second = choose_output(Path("in.jsonl"), out, resume=False, overwrite=False)
    moderate(b"\n".join(LINES), out)
    reader = LineReader(stream=io.BytesIO(b"other"), max_bytes=10_000)
    with pytest.raises(ConfigurationError, match="holds results already"):
        open_output(second, reader, describe).__enter__()
    assert out.read_bytes() == WHOLE


@pytest.mark.parametrize("content", [b"", b"other\n"])
def test_a_resume_that_is_refused_where_no_output_is_leaves_none(out: Path, content: bytes) -> None:
    moderate(b"\n".join(LINES), out)
    out.unlink()
    with pytest.raises(ConfigurationError, match="--resume"):
        moderate(content, out)
    with pytest.raises(ConfigurationError, match="--resume"):
        moderate(content, out, origin=ORIGIN.model_copy(update={"weir": "2"}))
    assert not out.exists()


def test_what_a_killed_run_had_locked_is_free(out: Path) -> None:
    program = "import os, sys; from pathlib import Path; from pipelines.files.locked_file import open_locked\n"
    program += "with open_locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", program, out], check=False).returncode == -signal.SIGKILL
    moderate(b"\n".join(LINES), out)
    assert out.read_bytes() == WHOLE


def test_how_far_it_goes_is_noted_from_time_to_time_after_it_is_written(out: Path) -> None:
    now = [0.0]
    sidecar = find_sidecar(out)
    reader = LineReader(stream=io.BytesIO(b"a\nb\nc\n"), max_bytes=10)
    moderate(b"", out)
    begun = load_sidecar(sidecar)
    assert begun is not None
    with out.open("wb") as sink:
        output = Output(sink, begun, sidecar, clock=lambda: now[0])
        for time, expected in [(0.5, 0), (1.5, 2), (2.0, 2)]:
            now[0] = time
            reader.skip(1)
            output.write([b"x\n"], reader, {"images": "i@1"})
            noted = load_sidecar(sidecar)
            assert noted is not None
            assert (noted.input_lines, noted.output_lines, noted.output_bytes) == (expected, expected, 2 * expected)
            assert ("images" in noted.origin.models) == bool(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([b"other", *LINES], "was made from other lines than the first 9 of IN"),
        ([*LINES[:-1], LINES[-1][:-1]], "was made from other lines than the first 9 of IN"),
        ([b"", *LINES], "was made from other lines than the first 9 of IN"),
        ([*LINES[2:], *LINES[:2]], "was made from other lines than the first 9 of IN"),
        (LINES[:-1], "was made from 9 lines; IN has 8"),
        ([], "was made from 9 lines; IN has 0"),
    ],
)
def test_another_input_is_refused(out: Path, content: list[bytes], expected: str) -> None:
    moderate(b"\n".join(LINES), out)
    left = out.read_bytes(), find_sidecar(out).read_bytes()
    with pytest.raises(ConfigurationError, match=expected):
        moderate(b"\n".join(content), out)
    assert (out.read_bytes(), find_sidecar(out).read_bytes()) == left


@given(at=st.integers(0, len(WHOLE) - 1), value=st.integers(0, 255), cuts=st.booleans())
def test_an_output_that_was_changed_or_cut_is_refused(at: int, value: int, cuts: bool) -> None:
    changed = WHOLE[:at] if cuts else WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :]
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out.jsonl"
        moderate(b"\n".join(LINES), out)
        out.write_bytes(changed)
        if changed == WHOLE:
            moderate(b"\n".join(LINES), out)
            return
        with pytest.raises(ConfigurationError, match="expected"):
            moderate(b"\n".join(LINES), out)
        assert out.read_bytes() == changed


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"weir": "2"}, "weir was 1 and is 2"),
        ({"policy": "policy@2"}, "policy was policy@1 and is policy@2"),
        ({"models": {"detector": "d@2"}}, "detector was d@1 and is d@2"),
        ({"models": {}}, "detector was d@1 and is none"),
        ({"models": {"detector": "d@1", "mllm": "m@1"}}, "mllm was none and is m@1"),
        ({"settings": {"a": False}}, "a was 1 and is false"),
    ],
)
def test_what_else_has_changed_is_named(out: Path, change: dict[str, object], expected: str) -> None:
    moderate(b"\n".join(LINES), out)
    with pytest.raises(ConfigurationError, match=f": {expected}; expected the same, or --overwrite$"):
        moderate(b"\n".join(LINES), out, origin=ORIGIN.model_copy(update=change))


def test_what_lies_where_a_sidecar_would_is_never_overwritten(out: Path) -> None:
    for content in (b"{}", b"notes", json.dumps({"schema_version": 2}).encode()):
        find_sidecar(out).write_bytes(content)
        for resume in (True, False):
            with pytest.raises(ConfigurationError, match=r"out\.jsonl\.weir\.json: expected nothing there"):
                moderate(b"\n".join(LINES), out, resume=resume)
        assert find_sidecar(out).read_bytes() == content
    find_sidecar(out).unlink()
    find_sidecar(out).mkdir()
    with pytest.raises(ConfigurationError, match="expected nothing there"):
        moderate(b"\n".join(LINES), out)


def test_options_that_contradict_each_other_are_refused(out: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected one of them at most"):
        choose_output(Path("in.jsonl"), out, resume=True, overwrite=True)


def test_streams_and_devices_have_no_sidecar(out: Path) -> None:
    for source, to in [("-", out), ("in.jsonl", Path("-")), ("in.jsonl", Path("/dev/null"))]:
        assert not choose_output(Path(source), to, resume=False, overwrite=False).is_recorded
        with pytest.raises(ConfigurationError, match="--resume: expected IN and --out to be files"):
            choose_output(Path(source), to, resume=True, overwrite=False)
