"""The demonstration, as a newcomer starts it, without a terminal."""

import json
import os
import subprocess
import sys

import psutil
import pytest

pytestmark = [pytest.mark.redis, pytest.mark.ray, pytest.mark.timeout(400)]

_EVENTS = 800
"""Of some 2,600: each way of ending is among them, and a machine that two tests share is done within two minutes."""


def test_the_demonstration_ends_by_itself_and_its_numbers_add_up() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "pipelines", "demo", "--json", "--events", str(_EVENTS)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=360,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-4_000:]
    result = json.loads(finished.stdout)
    assert result["sent"] == _EVENTS
    assert result["sent"] == sum(result["actions"].values()) + sum(result["dead_letters"].values())
    assert result["actions"]["allow"] > 0
    assert result["actions"]["rewrite"] == sum(result["methods"].values())
    shown = {example["method"] for example in result["examples"]}
    for method in ("edit", "omit", "complete"):
        assert result["methods"][method] > 0
        assert method in shown
    assert result["dead_letters"]["InvalidEvent"] > 0
    assert result["cached"] > 0
    assert all(example["before"] != example["after"] for example in result["examples"])
    judged, moderated = result["http"]
    assert [call["status"] for call in result["http"]] == [200, 200]
    assert [each["flagged"] for each in judged["answer"]["results"]] == [False, True]
    assert moderated["answer"]["action"] == "rewrite"
    assert moderated["command"].startswith("curl -s http://127.0.0.1:")
    mine = psutil.Process(os.getpid()).children(recursive=True)
    assert not [process.name() for process in mine if "redis" in process.name() or "raylet" in process.name()]
