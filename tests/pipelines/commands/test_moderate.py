"""`weir moderate` with the detector that ships: one line out for each line in, in order, the same bytes every time."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard
from pydantic import JsonValue

from pipelines.files.jsonl import ErrorRecord
from pipelines.files.sidecar import find_sidecar
from protector_models.moderation.verdict import ModeratedConversation
from tests.pipelines.commands.command_line import Finished, weir
from tests.protector_models.endpoints.chat_server import Reply, answer
from tests.protector_models.endpoints.chat_thread import serve_chat
from tests.wire import encode

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


def test_the_summary_tells_how_many_fields_of_messages_were_passed_over(source: Path, out: Path) -> None:
    assert json.loads(weir("moderate", source, "--out", out, "--json").stdout)["fields_ignored"] == 0
    message: JsonValue = {"role": "user", "content": "Hello", "seen": True, "annotations": ["a note"]}
    source.write_bytes(encode(event_id="e1", messages=[message]))
    facts = json.loads(weir("moderate", source, "--out", out, "--overwrite", "--json").stdout)
    assert facts["fields_ignored"] == 2


def test_without_json_the_summary_is_a_table_beside_the_output(source: Path) -> None:
    finished = weir("moderate", source)
    assert results(finished.stdout) == RESULTS
    assert "lines" in finished.stderr
    assert "cached" in finished.stderr
    assert "fields_ignored" in finished.stderr


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
    assert weir("moderate", source, "--out", out, "--strict", "--overwrite").status == 0


@pytest.mark.parametrize(("name", "value"), [("RECORDS", "1"), ("RECORDS", "2"), ("BYTES", "1")])
def test_batches_of_any_size_give_the_same_bytes(
    source: Path, out: Path, whole: bytes, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"WEIR_STREAM__BATCH_MAX_{name}", value)
    weir("moderate", source, "--out", out)
    assert without_cached(out.read_bytes()) == without_cached(whole)


@pytest.mark.parametrize("num_lines", [0, 1, 4, 6, 8])
def test_resume_goes_on_where_the_input_has_grown(source: Path, out: Path, whole: bytes, num_lines: int) -> None:
    source.write_bytes(b"\n".join(LINES[:num_lines]))
    weir("moderate", source, "--out", out)
    earlier = out.read_bytes()
    source.write_bytes(b"\r\n".join(LINES))
    finished = weir("moderate", source, "--out", out, "--resume", "--json")
    assert without_cached(out.read_bytes()) == without_cached(whole)
    facts = json.loads(finished.stdout)
    assert facts["resumed_after"] == earlier.count(b"\n")
    counted = ("blank", "resumed_after", "allow", "rewrite", "review", "block", "error")
    assert facts["lines"] == sum(facts[name] for name in counted) == 9


def test_resume_after_the_end_changes_nothing(source: Path, out: Path, whole: bytes) -> None:
    weir("moderate", source, "--out", out)
    told = find_sidecar(out).read_bytes()
    assert weir("moderate", source, "--out", out, "--resume").status == 0
    assert (out.read_bytes(), find_sidecar(out).read_bytes()) == (whole, told)


@pytest.mark.parametrize("packing", [gzip.compress, zstandard.compress])
def test_a_packed_input_gives_the_same_and_goes_on_from_a_plain_one(
    source: Path, out: Path, whole: bytes, packing: Callable[[bytes], bytes]
) -> None:
    source.write_bytes(b"\n".join(LINES[:4]))
    weir("moderate", source, "--out", out)
    source.write_bytes(packing(b"\n".join(LINES)))
    assert weir("moderate", source, "--out", out, "--resume").status == 0
    assert without_cached(out.read_bytes()) == without_cached(whole)


def test_what_could_be_read_of_a_damaged_input_is_moderated_and_goes_on_when_it_is_mended(
    source: Path, out: Path, whole: bytes
) -> None:
    packed = gzip.compress(b"\n".join(LINES[:6])), gzip.compress(b"\n" + b"\n".join(LINES[6:]))
    source.write_bytes(packed[0] + packed[1][:-20])
    finished = weir("moderate", source, "--out", out)
    assert finished.status == 2
    assert finished.error_line() == (
        f"weir: {source}: what gzip packed ends in the middle; whole lines before that are moderated"
    )
    assert whole.startswith(out.read_bytes())
    assert results(out.read_bytes())[:4] == RESULTS[:4]
    source.write_bytes(b"".join(packed))
    assert weir("moderate", source, "--out", out, "--resume").status == 0
    assert without_cached(out.read_bytes()) == without_cached(whole)


def test_an_input_of_another_form_leaves_an_earlier_output(source: Path, out: Path) -> None:
    source.write_bytes(b"[" + LINES[0] + b"]")
    out.write_bytes(b"earlier\n")
    finished = weir("moderate", source, "--out", out, "--overwrite")
    assert finished.status == 2
    assert "one JSON object a line expected" in finished.error_line()
    assert out.read_bytes() == b"earlier\n"


def test_an_earlier_output_is_replaced_only_where_that_is_said(source: Path, out: Path, whole: bytes) -> None:
    out.write_bytes(b"earlier\n")
    finished = weir("moderate", source, "--out", out)
    assert finished.status == 2
    assert "--resume" in finished.error_line()
    assert "--overwrite" in finished.error_line()
    assert out.read_bytes() == b"earlier\n"
    assert weir("moderate", source, "--out", out, "--overwrite").status == 0
    assert out.read_bytes() == whole


def test_resume_refuses_another_input_policy_or_setting_and_leaves_the_output(source: Path, out: Path) -> None:
    weir("moderate", source, "--out", out)
    left = out.read_bytes()
    config, policy = source.with_name("weir.yaml"), source.with_name("policy.yaml")
    policy.write_text("version: p\nrules: [{threshold: 0.5, action: block}]\nsafe_completions: {default: 'No.'}\n")
    for configuration, named in [
        ("policy: policy.yaml", "policy was default-8@"),
        ("shadow_policy: policy.yaml", "policy was default-8@"),
        ("output: {include_original_response: true}", "output.include_original_response was false and is true"),
        ("detector: {max_windows: 3}", "detector was weir-pair@"),
        ("images: {max_images: 3}", "images.max_images was 16 and is 3"),
    ]:
        config.write_text(configuration)
        finished = weir("moderate", source, "--out", out, "--resume", "--config", config)
        assert finished.status == 2
        assert named in finished.error_line()
    source.write_bytes(encode(event_id="other") + b"\n" + b"\n".join(LINES))
    finished = weir("moderate", source, "--out", out, "--resume")
    assert finished.status == 2
    assert "was made from other lines than the first 9 of IN" in finished.error_line()
    assert out.read_bytes() == left


def test_the_order_of_batches_does_not_matter_to_resume(
    source: Path, out: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write_bytes(b"\n".join(LINES[:4]))
    weir("moderate", source, "--out", out)
    monkeypatch.setenv("WEIR_STREAM__BATCH_MAX_RECORDS", "1")
    source.write_bytes(b"\n".join(LINES))
    assert weir("moderate", source, "--out", out, "--resume").status == 0
    assert without_cached(out.read_bytes()) == without_cached(whole)


def test_resume_without_an_earlier_output_begins_at_the_beginning(source: Path, out: Path) -> None:
    assert weir("moderate", source, "--out", out, "--resume").status == 0
    assert results(out.read_bytes()) == RESULTS


def test_resume_refuses_an_output_of_which_nothing_is_known_and_leaves_it(source: Path, out: Path) -> None:
    content = b"{}\n" * 20 + b"the beginning of a line"
    out.write_bytes(content)
    finished = weir("moderate", source, "--out", out, "--resume")
    assert finished.status == 2
    assert "no out.jsonl.weir.json beside it" in finished.error_line()
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
    assert finished.status == 2
    assert finished.error_line() == f"weir: {tmp_path}: expected a file as --out, got a folder"
    missing = tmp_path / "none" / "out.jsonl"
    finished = weir("moderate", source, "--out", missing)
    assert finished.status == 2
    assert finished.error_line() == (
        f"weir: {missing}: {missing.parent} is no folder; expected --out in one that is there"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_disk_that_is_full_is_told_with_the_files(source: Path) -> None:
    finished = weir("moderate", source, "--out", "/dev/full")
    assert finished.status == 2
    assert finished.error_line() == f"weir: {source} to /dev/full: {os.strerror(errno.ENOSPC)}"


def test_the_input_is_never_overwritten(source: Path) -> None:
    content = source.read_bytes()
    linked = source.with_name("linked.jsonl")
    linked.symlink_to(source)
    for option in ("--resume", "--overwrite", "--strict"):
        for out in (source.parent / "." / source.name, linked):
            finished = weir("moderate", source, "--out", out, option)
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
    finished = weir("moderate", source, "--out", out, "--overwrite", "--config", config)
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
    weir("moderate", source, "--out", out, "--overwrite", "--config", config)
    assert ModeratedConversation.model_validate_json(out.read_bytes()).original_response is not None


@pytest.mark.redis
def test_a_warm_redis_gives_the_same_bytes_apart_from_cached(
    source: Path, out: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weir("moderate", source, "--out", out)
    without_redis = out.read_bytes()
    monkeypatch.setenv("WEIR_REDIS__URL", redis_url)
    monkeypatch.setenv("WEIR_REDIS__TIMEOUT_S", "30")
    weir("moderate", source, "--out", out, "--overwrite")
    cold = out.read_bytes()
    facts = json.loads(weir("moderate", source, "--out", out, "--overwrite", "--json").stdout)
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
        assert b"interrupted" in process.stderr.read()
    assert results(out.read_bytes()) == ["e1"]


def wait_for_lines(process: subprocess.Popen[bytes], out: Path, num_lines: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not (out.exists() and out.read_bytes().count(b"\n") >= num_lines):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_after_kills_at_any_point_resume_gives_what_an_uninterrupted_run_does(tmp_path: Path) -> None:
    source, out, whole = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "whole.jsonl"))
    texts = ("By bus.", "You are worthless. Go and hurt yourself.", "You are an idiot, but here is the way.")
    events = [encode(event_id=f"e{at}", response=f"{texts[at % 3]} {at}") for at in range(80)]
    source.write_bytes(b"\n".join([*events[:30], b"nonsense", b"", *events[30:]]))
    weir("moderate", source, "--out", whole)
    for num_lines in (1, 40):
        with started("moderate", "in.jsonl", "--out", "out.jsonl", "--resume", cwd=tmp_path) as process:
            wait_for_lines(process, out, num_lines)
            process.kill()
    assert out.read_bytes() != whole.read_bytes()
    assert weir("moderate", source, "--out", out, "--resume").status == 0
    assert without_cached(out.read_bytes()) == without_cached(whole.read_bytes())


def test_after_ctrl_c_resume_goes_on(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    events = [encode(event_id=f"e{at}", response=f"By bus {at}.") for at in range(100)]
    source.write_bytes(b"\n".join(events))
    with started("moderate", "in.jsonl", "--out", "out.jsonl", cwd=tmp_path) as process:
        wait_for_lines(process, out, 10)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.wait(PATIENCE_S) == 130
        assert b"interrupted; --resume goes on from there" in process.stderr.read()
    done = out.read_bytes().count(b"\n")
    facts = json.loads(weir("moderate", source, "--out", out, "--resume", "--json").stdout)
    moderated = sum(facts[name] for name in ("allow", "rewrite", "review", "block"))
    assert (facts["resumed_after"], facts["lines"], moderated) == (done, 100, 100 - done)


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


def moderate_with_mllm(tmp_path: Path, reply: Callable[[int], Reply], *, give_up_s: float) -> tuple[Finished, int]:
    """Moderate two events that an endpoint is to answer; return how that ended, and how many requests it took."""
    config = tmp_path / "weir.yaml"
    with serve_chat(lambda number, _: reply(number)) as server:
        config.write_text(
            f"mllm: {{kind: openai, base_url: '{server.base_url}', model: llava, max_attempts: 1, deadline_s: 0.5}}\n"
            f"stream: {{retry_initial_s: 0.01, retry_max_s: 0.05, retry_give_up_s: {give_up_s}}}\n"
        )
        lines = b"\n".join(encode(event_id=name, response=None) for name in ("e1", "e2"))
        return weir("moderate", "-", "--config", config, stdin=lines), len(server.bodies)


def test_an_endpoint_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    def reply(number: int) -> Reply:
        return Reply(status=503) if number < 6 else answer("Take the bus.")

    finished, num_requests = moderate_with_mllm(tmp_path, reply, give_up_s=60)
    assert finished.status == 0
    assert results(finished.stdout) == ["e1", "e2"]
    assert num_requests >= 8


def test_an_endpoint_that_stays_away_ends_the_run(tmp_path: Path) -> None:
    finished, _ = moderate_with_mllm(tmp_path, lambda _: Reply(status=503), give_up_s=0.2)
    assert finished.status == 1
    assert finished.stdout == b""
