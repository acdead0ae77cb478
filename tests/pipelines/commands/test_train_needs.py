from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands.train import app

pytestmark = pytest.mark.training


def test_evaluation_data_is_refused_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    result = CliRunner().invoke(app, ["needs", "--data", str(tmp_path / "eval"), "--weights", str(tmp_path)])
    assert result.exit_code == 2
    assert "never trained on" in " ".join(result.stderr.split())


def test_a_directory_without_a_detector_is_refused_with_status_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["needs", "--data", str(tmp_path), "--weights", str(tmp_path)])
    assert result.exit_code == 2
    assert "card.json" in result.stderr
    assert not (tmp_path / "needs").exists()
