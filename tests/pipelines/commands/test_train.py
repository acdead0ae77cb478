from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands.train import app

pytestmark = pytest.mark.training


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_evaluation_data_is_refused_with_status_2(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    result = runner.invoke(app, ["detector", "--data", str(tmp_path / "eval"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "never trained on" in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_missing_set_is_named_with_status_2(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(app, ["detector", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "gptfuzz" in result.stderr


def test_options_are_required(runner: CliRunner) -> None:
    assert runner.invoke(app, ["detector"]).exit_code == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--recipe", "lora"), "recipe lora: expected --base"),
        (("--recipe", "lora", "--base", ".", "--encoder", "."), "recipe lora: takes no --encoder"),
        (("--base", "."), "recipe encoder: takes no --base"),
        (("--lora-targets", "q_proj"), "recipe encoder: takes no --lora-targets"),
        (("--dtype", "bfloat16"), "recipe encoder: expected --device cpu and --dtype float32, got cpu, bfloat16"),
    ],
)
def test_options_of_another_recipe_are_refused(
    runner: CliRunner, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = runner.invoke(app, ["detector", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
