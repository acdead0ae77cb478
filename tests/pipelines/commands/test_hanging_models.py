"""A model of this process that hangs ends the command, and not only what waits for it."""

import json
import subprocess
import sys
from pathlib import Path

from tests.pipelines.commands import hanging_moderate
from tests.wire import encode


def test_a_run_behind_a_model_that_hangs_ends_with_its_status_and_what_was_done_is_there(tmp_path: Path) -> None:
    source, out, config = tmp_path / "in.jsonl", tmp_path / "out.jsonl", tmp_path / "weir.yaml"
    events = [encode(event_id="e0"), encode(event_id="e1", response=hanging_moderate.HANG), encode(event_id="e2")]
    source.write_bytes(b"\n".join(events))
    config.write_text("stream: {batch_max_records: 1, retry_initial_s: 0.1, retry_give_up_s: 0.5}\n")
    ended = subprocess.run(
        [sys.executable, "-m", hanging_moderate.__name__, "moderate", source, "--out", out, "--config", config],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.splitlines()[-1].endswith("what it computes does not end; expected a new process")
    assert [json.loads(line)["event_id"] for line in out.read_text().splitlines()] == ["e0"]
