from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands.train import app
from protector_models.checkpoints import mpnet_wheels
from protector_models.records.examples import ExampleSplit

pytestmark = pytest.mark.training


def _run(*options: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["detector", *map(str, options)])
    return result.exit_code, " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--recipe", "teacher", "--base", "."), "recipe teacher: takes no --base"),
        (("--recipe", "teacher", "--teacher", "."), "recipe teacher: takes no --teacher"),
        (("--recipe", "teacher", "--lora-targets", "x"), "recipe teacher: takes no --lora-targets"),
        (("--recipe", "teacher", "--device", "cuda"), "recipe teacher: expected --device cpu"),
        (("--recipe", "lora", "--base", ".", "--teacher", "."), "recipe lora: takes no --teacher"),
        (("--recipe", "accurate", "--teacher", "."), "recipe accurate: takes no --teacher"),
        (("--recipe", "accurate", "--base", "."), "recipe accurate: takes no --base"),
        (("--teacher-windows", "5"), "recipe encoder: takes no --teacher-windows without --teacher"),
    ],
)
def test_options_of_another_recipe_are_refused(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    status, fault = _run("--data", tmp_path, "--out", tmp_path / "out", *options)
    assert status == 2
    assert message in fault


def test_a_teacher_is_not_trained_on_evaluation_data(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    status, fault = _run("--recipe", "teacher", "--data", tmp_path / "eval", "--out", tmp_path / "out")
    assert status == 2
    assert "never trained on" in fault
    assert not (tmp_path / "out").exists()


def test_missing_wheels_are_named_with_their_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpnet_wheels, "_PARTS", ("weir-no-such-slice",))
    nothing = ExampleSplit(training=[], validation=[])
    monkeypatch.setattr("protector_models.records.examples.load_examples", lambda *_, **__: nothing)
    status, fault = _run("--recipe", "teacher", "--data", tmp_path, "--out", tmp_path / "out")
    assert status == 2
    assert 'weir-no-such-slice: not installed; expected the extra "teacher" of weir' in fault
