from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands.train import app


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_evaluation_data_is_refused_with_status_1(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    result = runner.invoke(app, ["detector", "--data", str(tmp_path / "eval"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "never trained on" in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_missing_set_is_named_with_status_1(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(app, ["detector", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "gptfuzz" in result.stderr


def test_options_are_required(runner: CliRunner) -> None:
    assert runner.invoke(app, ["detector"]).exit_code == 2
