"""`weir eval blind-pairs`: rewrites in pairs, to be read without knowing which is which."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands import evaluate_detoxifier
from pipelines.commands.evaluate import app
from protector_models.moderation.fakes import FakeTextEditor
from tests.protector_models.training.builders import make_record, write_records


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    editor = FakeTextEditor(lambda text: text.replace("fucking ", ""))
    monkeypatch.setattr(evaluate_detoxifier, "_load_editor", lambda _settings, _num_threads: editor)
    return CliRunner()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        make_record(text=f"what a fucking shit day {number}", pair=f"what a day {number}", label=1)
        for number in range(12)
    ]
    return write_records(tmp_path / "pairs.jsonl", rows)


def _run(runner: CliRunner, data: Path, out: Path, key: Path, *more: str) -> int:
    paths = ["--data", str(data), "--out", str(out), "--key", str(key)]
    return runner.invoke(app, ["blind-pairs", *paths, *more]).exit_code


def test_the_table_tells_nothing_that_the_key_does_and_both_repeat(
    runner: CliRunner, data: Path, tmp_path: Path
) -> None:
    out, key = tmp_path / "pairs.tsv", tmp_path / "key.json"
    assert _run(runner, data, out, key, "--num", "10") == 0
    lines = [line.split("\t") for line in out.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == ["number", "source", "first", "second"]
    assert [line[0] for line in lines[1:]] == [str(number) for number in range(1, 11)]
    assert "weir" not in out.read_text(encoding="utf-8")
    answers = json.loads(key.read_text(encoding="utf-8"))
    assert answers["rows"] == ["weir", "delete"]
    for number, _, first, second in lines[1:]:
        written = {answers["pairs"][number]["first"]: first, answers["pairs"][number]["second"]: second}
        assert written["weir"].startswith("what a shit day")
        assert written["delete"].startswith("what a day")
    again = tmp_path / "again.tsv"
    assert _run(runner, data, again, tmp_path / "again.json", "--num", "10") == 0
    assert again.read_bytes() == out.read_bytes()


def test_rows_that_need_no_model_load_none(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(evaluate_detoxifier, "_load_editor")
    rows = ["--rows", "reference,duplicate", "--num", "3"]
    assert _run(CliRunner(), data, tmp_path / "a.tsv", tmp_path / "a.json", *rows) == 0


@pytest.mark.parametrize("rows", ["weir", "weir,weir", "weir,ours", "weir,delete,reference"])
def test_other_rows_than_two_known_ones_are_refused(runner: CliRunner, data: Path, tmp_path: Path, rows: str) -> None:
    assert _run(runner, data, tmp_path / "a.tsv", tmp_path / "a.json", "--rows", rows) == 2
    assert not (tmp_path / "a.tsv").exists()


def test_too_few_pairs_missing_data_and_places_that_cannot_be_written_end_with_status_2(
    runner: CliRunner, data: Path, tmp_path: Path
) -> None:
    out, key = tmp_path / "a.tsv", tmp_path / "a.json"
    assert _run(runner, data, out, key, "--num", "13") == 2
    assert _run(runner, tmp_path / "none", out, key, "--num", "3") == 2
    assert _run(runner, data, tmp_path / "none" / "a.tsv", key, "--num", "3") == 2


def test_data_without_a_known_set_is_refused_before_any_model_is_loaded(data: Path) -> None:
    result = CliRunner().invoke(app, ["detoxifier", "--data", str(data), "--json"])
    assert result.exit_code == 2
    assert "expected some of paradetox_eval" in " ".join(result.stderr.split())
