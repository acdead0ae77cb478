"""`weir moderate` with the detector that ships: one line out for each line in, in order, the same bytes every time."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.jsonl import ErrorRecord
from protector_models.moderation.verdict import ModeratedConversation
from tests.pipelines.commands.command_line import weir
from tests.pipelines.wire import encode

pytestmark = pytest.mark.shipped

PATIENCE_S = 60.0

LINES = [
    encode(event_id="e1"),
    b"",
    b"nonsense",
    encode(event_id="e2", response="You are worthless. Go and hurt yourself."),
    encode(event_id="e3", response=None),
    b" \t ",
    encode(event_id="e4"),
    encode(event_id="e5", response="x" * 5_000),
    b"[]",
]
RESULTS = ["e1", 3, "e2", 5, "e4", "e5", 9]
"""For each line that is not blank: the event moderated, or the number of the line that cannot be."""


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WEIR_") and not name.startswith("WEIR_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join(LINES))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture(scope="module")
def whole() -> bytes:
    """The output for `LINES`, of one run."""
    return weir("moderate", "-", stdin=b"\n".join(LINES)).stdout


def results(content: bytes) -> list[str | int]:
    """Return what each line of an output stands for."""
    named: list[str | int] = []
    for line in content.splitlines():
        if b'"action"' in line:
            named.append(ModeratedConversation.model_validate_json(line).event_id)
        else:
            named.append(ErrorRecord.model_validate_json(line).line)
    return named


def without_cached(content: bytes) -> bytes:
    return content.replace(b'"cached":true', b'"cached":false')


def test_each_line_has_its_line_in_order_and_the_same_bytes_when_run_twice(
    source: Path, out: Path, whole: bytes
) -> None:
    assert weir("moderate", source, "--out", out).status == 0
    assert results(whole) == RESULTS
    assert out.read_bytes() == whole
    assert whole.endswith(b"\n")


def test_the_summary_adds_up(source: Path, out: Path) -> None:
    finished = weir("moderate", source, "--out", out, "--json")
    facts = json.loads(finished.stdout)
    counted = ("blank", "resumed_after", "allow", "rewrite", "review", "block", "error")
    assert facts["lines"] == sum(facts[name] for name in counted) == 9
    assert (facts["blank"], facts["error"], facts["cached"]) == (2, 3, 0)


def test_without_json_the_summary_is_a_table_beside_the_output(source: Path) -> None:
    finished = weir("moderate", source)
    assert results(finished.stdout) == RESULTS
    assert "lines" in finished.stderr
    assert "cached" in finished.stderr


def test_standard_input_and_output_hold_nothing_but_events_and_results() -> None:
    finished = weir("moderate", "-", "--json", stdin=b"\n".join(LINES))
    assert finished.status == 0
    assert results(finished.stdout) == RESULTS
    assert json.loads(finished.stderr)["lines"] == 9


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_input_without_events_gives_an_empty_output(source: Path, out: Path, content: bytes) -> None:
    source.write_bytes(content)
    assert weir("moderate", source, "--out", out).status == 0
    assert out.read_bytes() == b""


def test_strict_ends_with_3_where_a_line_could_not_be_moderated_and_writes_everything(source: Path, out: Path) -> None:
    assert weir("moderate", source, "--out", out, "--strict").status == 3
    assert results(out.read_bytes()) == RESULTS
    source.write_bytes(LINES[0])
    assert weir("moderate", source, "--out", out, "--strict").status == 0


@pytest.mark.parametrize(("name", "value"), [("RECORDS", "1"), ("RECORDS", "2"), ("BYTES", "1")])
def test_batches_of_any_size_give_the_same_bytes(
    source: Path, out: Path, whole: bytes, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"WEIR_STREAM__BATCH_MAX_{name}", value)
    weir("moderate", source, "--out", out)
    assert without_cached(out.read_bytes()) == without_cached(whole)


@pytest.mark.parametrize("cut", [0, 1, 200, -1, -100])
def test_resume_goes_on_after_the_last_whole_line(source: Path, out: Path, whole: bytes, cut: int) -> None:
    out.write_bytes(whole[:cut])
    finished = weir("moderate", source, "--out", out, "--resume", "--json")
    assert without_cached(out.read_bytes()) == without_cached(whole)
    facts = json.loads(finished.stdout)
    assert facts["resumed_after"] == whole[:cut].count(b"\n")
    counted = ("blank", "resumed_after", "allow", "rewrite", "review", "block", "error")
    assert facts["lines"] == sum(facts[name] for name in counted)


def test_resume_after_the_end_changes_nothing(source: Path, out: Path, whole: bytes) -> None:
    out.write_bytes(whole)
    assert weir("moderate", source, "--out", out, "--resume").status == 0
    assert out.read_bytes() == whole


def test_resume_without_an_earlier_output_begins_at_the_beginning(source: Path, out: Path) -> None:
    assert weir("moderate", source, "--out", out, "--resume").status == 0
    assert results(out.read_bytes()) == RESULTS


def test_resume_refuses_an_output_that_is_longer_than_the_input_and_leaves_it(source: Path, out: Path) -> None:
    content = b"{}\n" * 20 + b"the beginning of a line"
    out.write_bytes(content)
    finished = weir("moderate", source, "--out", out, "--resume")
    assert finished.status == 2
    assert "has 20 lines, more than the input" in finished.error_line()
    assert out.read_bytes() == content


@pytest.mark.parametrize(("given", "to"), [("-", "out.jsonl"), ("in.jsonl", "-")])
def test_resume_needs_files(source: Path, given: str, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source.parent)
    finished = weir("moderate", given, "--out", to, "--resume")
    assert (finished.status, finished.stdout) == (2, b"")
    assert "--resume" in finished.error_line()


def test_a_missing_input_is_named(tmp_path: Path, out: Path) -> None:
    finished = weir("moderate", tmp_path / "none.jsonl", "--out", out)
    assert finished.status == 2
    assert finished.error_line() == f"weir: {tmp_path / 'none.jsonl'}: No such file or directory"
    assert not out.exists()


def test_a_directory_is_no_input(tmp_path: Path, out: Path) -> None:
    finished = weir("moderate", tmp_path, "--out", out)
    assert (finished.status, finished.error_line()) == (2, f"weir: {tmp_path}: Is a directory")


def test_an_output_that_cannot_be_written_is_named(source: Path, tmp_path: Path) -> None:
    finished = weir("moderate", source, "--out", tmp_path)
    assert (finished.status, finished.error_line()) == (2, f"weir: {tmp_path}: Is a directory")
    missing = tmp_path / "none" / "out.jsonl"
    finished = weir("moderate", source, "--out", missing)
    assert (finished.status, finished.error_line()) == (2, f"weir: {missing}: No such file or directory")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_disk_that_is_full_is_told_with_the_files(source: Path) -> None:
    finished = weir("moderate", source, "--out", "/dev/full")
    assert finished.status == 2
    assert finished.error_line() == f"weir: {source} to /dev/full: {os.strerror(errno.ENOSPC)}"


def test_the_input_is_never_overwritten(source: Path) -> None:
    content = source.read_bytes()
    finished = weir("moderate", source, "--out", source.parent / "." / source.name)
    assert finished.status == 2
    assert "expected another file than IN" in finished.error_line()
    assert source.read_bytes() == content


@pytest.mark.parametrize(
    ("configuration", "named"),
    [
        ("streams: {}", "streams: unknown key"),
        ("policy: none.yaml", "none.yaml: cannot be read"),
        ("detector: {checkpoint: /nowhere}", "/nowhere"),
        ("redis: {url: 'http://host'}", "redis.url"),
    ],
)
def test_a_wrong_configuration_is_named_and_an_earlier_output_stays(
    source: Path, out: Path, configuration: str, named: str
) -> None:
    config = source.with_name("weir.yaml")
    config.write_text(configuration)
    out.write_bytes(b"earlier\n")
    finished = weir("moderate", source, "--out", out, "--config", config)
    assert finished.status == 2
    assert named in finished.error_line()
    assert out.read_bytes() == b"earlier\n"


def test_the_original_is_in_the_output_only_where_the_configuration_says_so(source: Path, out: Path) -> None:
    policy = source.with_name("policy.yaml")
    policy.write_text(
        "version: all\nrules: [{threshold: 0.0, action: block}]\nsafe_completions: {default: Let us talk of else.}\n"
    )
    source.write_bytes(encode(response="correct horse battery staple"))
    config = source.with_name("weir.yaml")
    config.write_text("policy: policy.yaml")
    weir("moderate", source, "--out", out, "--config", config)
    assert b"correct horse" not in out.read_bytes()
    config.write_text("policy: policy.yaml\noutput: {include_original_response: true}")
    weir("moderate", source, "--out", out, "--config", config)
    assert ModeratedConversation.model_validate_json(out.read_bytes()).original_response is not None


@pytest.mark.redis
def test_a_warm_redis_gives_the_same_bytes_apart_from_cached(
    source: Path, out: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weir("moderate", source, "--out", out)
    without_redis = out.read_bytes()
    monkeypatch.setenv("WEIR_REDIS__URL", redis_url)
    monkeypatch.setenv("WEIR_REDIS__TIMEOUT_S", "30")
    weir("moderate", source, "--out", out)
    cold = out.read_bytes()
    facts = json.loads(weir("moderate", source, "--out", out, "--json").stdout)
    warm = out.read_bytes()
    assert facts["cached"] == 4
    assert warm.count(b'"cached":true') == 4
    assert without_cached(without_redis) == without_cached(cold) == without_cached(warm)


@contextmanager
def started(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `weir` as a process of its own, one line a batch, with pipes; it is killed in the end."""
    # Where the tests run in the background, Ctrl-C is ignored, and what they start would inherit that.
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "WEIR_STREAM__BATCH_MAX_RECORDS": "1"},
    )
    signal.signal(signal.SIGINT, earlier)
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_ends_a_run_that_waits_for_its_input_and_keeps_whole_lines(tmp_path: Path) -> None:
    out, deadline = tmp_path / "out.jsonl", time.monotonic() + PATIENCE_S
    with started("moderate", "-", "--out", str(out), cwd=tmp_path) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(LINES[0] + b"\n")
        process.stdin.flush()
        while not (out.exists() and out.read_bytes()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        # Its standard input stays open: it must not wait for more of it.
        assert process.wait(PATIENCE_S) == 130
        assert b"--resume goes on" in process.stderr.read()
    assert results(out.read_bytes()) == ["e1"]


def test_a_reader_that_has_enough_ends_the_run_quietly(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"nonsense\n" * 20_000)
    with started("moderate", str(source), cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"schema_version":1,"line":1,')
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 1
        assert process.stderr.read() == b""
