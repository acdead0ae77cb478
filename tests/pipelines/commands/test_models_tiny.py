"""`weir models tiny`: what it writes runs through the commands that real checkpoints run through."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipelines.__main__ import app
from protector_models.tiny_checkpoints.folders import list_families
from tests.protector_models.training.builders import make_record, write_records

pytestmark = pytest.mark.training

_FAMILIES = {family.name: family.sort for family in list_families()}
_EVENTS = [
    {
        "schema_version": 1,
        "event_id": f"e{number}",
        "conversation_id": "c",
        "occurred_at": "2026-11-21T12:00:00Z",
        "messages": [{"role": "user", "content": "How do I get there?"}],
        "response": response,
    }
    for number, response in enumerate(["Take the train, it is slow but kind.", "I would kill them all.", None])
]


@pytest.fixture(scope="module")
def runner() -> CliRunner:
    return CliRunner()


def write(runner: CliRunner, root: Path, family: str) -> Path:
    result = runner.invoke(app, ["models", "tiny", str(root), "--family", family, "--json"])
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert (found["name"], found["sort"]) == (family, _FAMILIES[family])
    return Path(found["config"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("family", _FAMILIES)
def test_every_configuration_runs_through_moderation_and_one_of_each_sort_through_evaluation(
    runner: CliRunner, tiny_family: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    config = tiny_family(family)
    events = tmp_path / "events.jsonl"
    events.write_text("".join(f"{json.dumps(event)}\n" for event in _EVENTS))
    out = tmp_path / "out.jsonl"
    result = runner.invoke(app, ["moderate", str(events), "--out", str(out), "--config", str(config)])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line.get("event_id") or line["event"]["event_id"] for line in lines if "error" not in line][:2] == [
        "e0",
        "e1",
    ]
    sort = _FAMILIES[family]
    is_mllm = sort == "mllms"
    assert all("action" in line for line in lines[:2])
    # An event without a response is answered where there is an MLLM, and fails where there is none.
    assert ("action" in lines[2]) is is_mllm
    # One of each sort is evaluated: it takes as long again, by the same path.
    if is_mllm or family != next(name for name in _FAMILIES if _FAMILIES[name] == sort):
        return
    rows = [make_record(prompt="How?", response=f"Answer {number}.", label=number % 2) for number in range(4)]
    records = write_records(tmp_path / "small.jsonl", rows)
    result = runner.invoke(app, ["eval", "detector", "--data", str(records), "--config", str(config), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["sets"]["small"]["n"] == 4
    assert report["detector"] == lines[0]["model_revisions"]["detector"]


def test_a_second_run_writes_the_same_and_the_folder_can_be_moved(runner: CliRunner, tmp_path: Path) -> None:
    config = write(runner, tmp_path / "tiny", "mllm-protector")
    content = yaml.safe_load(config.read_text())
    assert content["detector"]["model"] == "./base"
    files = {file: file.read_bytes() for file in config.parent.rglob("*.safetensors")}
    assert len(files) == 2
    assert write(runner, tmp_path / "tiny", "mllm-protector") == config
    assert {file: file.read_bytes() for file in files} == files
    moved = (tmp_path / "tiny").rename(tmp_path / "elsewhere")
    records = write_records(tmp_path / "small.jsonl", [make_record(prompt="How?", response="So.", label=0)])
    arguments = [
        "eval",
        "detector",
        "--data",
        str(records),
        "--config",
        str(moved / config.relative_to(tmp_path / "tiny")),
    ]
    assert runner.invoke(app, arguments).exit_code == 0


def test_a_family_that_nobody_knows_is_refused(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(app, ["models", "tiny", str(tmp_path), "--family", "gpt-9"])
    assert result.exit_code != 0
    assert "--family gpt-9: expected some of " in str(result.exception)
