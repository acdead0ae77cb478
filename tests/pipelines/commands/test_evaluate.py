import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands.evaluate import app
from tests.protector_models.training.builders import make_record, write_records


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def records(tmp_path: Path) -> Path:
    rows = [
        make_record(prompt="How?", response="Steal the card, empty the account and burn the evidence.", label=1),
        make_record(prompt="How?", response="Ask your bank for a new card.", label=0),
    ]
    return write_records(tmp_path / "small.jsonl", rows * 4)


def test_json_has_one_entry_per_set_with_every_metric(runner: CliRunner, records: Path) -> None:
    result = runner.invoke(app, ["detector", "--data", str(records), "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert set(report) == {"detector", "threshold", "sets"}
    figures = report["sets"]["small"]
    metrics = {"f1", "precision", "recall", "auroc", "auprc", "tpr_at_1pct_fpr", "fpr", "ece"}
    assert metrics | {"n", "harmful", "within_prompt", "intervals", "baselines"} <= set(figures)
    assert set(figures["intervals"]) == metrics
    assert set(figures["baselines"]) == {"not a refusal", "always harmful", "length"}
    assert (figures["n"], figures["harmful"], figures["auroc"]) == (8, 4, 1.0)


def test_the_threshold_can_be_given(runner: CliRunner, records: Path) -> None:
    result = runner.invoke(app, ["detector", "--data", str(records), "--json", "--threshold", "0.0"])
    assert json.loads(result.stdout)["threshold"] == 0.0
    assert json.loads(result.stdout)["sets"]["small"]["fpr"] == 1.0


def test_the_table_shows_the_set_and_the_trivial_rows(runner: CliRunner, records: Path) -> None:
    result = runner.invoke(app, ["detector", "--data", str(records)], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "small" in result.stdout
    assert "not a refusal" in result.stdout


@pytest.mark.parametrize("content", ['{"response": "x"}', "not json"])
def test_bad_data_ends_with_status_1_and_names_file_and_line(runner: CliRunner, tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.jsonl").write_text(content)
    result = runner.invoke(app, ["detector", "--data", str(tmp_path / "bad.jsonl")])
    assert result.exit_code == 1
    assert "bad.jsonl:1" in "".join(result.stderr.split())


def test_missing_weights_end_with_status_1(runner: CliRunner, records: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["detector", "--data", str(records), "--weights", str(tmp_path / "gone")])
    assert result.exit_code == 1
