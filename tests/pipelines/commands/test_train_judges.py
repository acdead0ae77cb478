from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands.train import app
from protector_models.judges.shipped_judges import JudgesCard
from tests.protector_models.training.judges.builders import write_judges_data

pytestmark = pytest.mark.training


def test_the_judges_are_trained_from_one_command(tmp_path: Path) -> None:
    data, out = write_judges_data(tmp_path / "train", rows_per_set=200), tmp_path / "out"
    result = CliRunner().invoke(app, ["judges", "--data", str(data), "--out", str(out), "--steps", "2"])
    assert result.exit_code == 0, result.output
    assert "fluency_auroc" in result.stdout
    assert JudgesCard.load(out).recipe["fluency_num_steps"] == 2


def test_evaluation_data_is_refused_with_status_2(tmp_path: Path) -> None:
    data = write_judges_data(tmp_path / "eval", rows_per_set=1)
    result = CliRunner().invoke(app, ["judges", "--data", str(data), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "never trained on" in " ".join(result.stderr.split())
