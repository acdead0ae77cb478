"""`weir models list`, and `weir eval detector --config` on detectors that need no torch."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands import evaluate, models
from protector_models.descriptions.checkpoint_description import list_descriptions
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


def test_the_list_has_every_description(runner: CliRunner) -> None:
    names = [description.name for description in list_descriptions()]
    shown = runner.invoke(models.app, ["list"])
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in names)
    found = json.loads(runner.invoke(models.app, ["list", "--json"]).stdout)
    assert [each["name"] for each in found] == names
    assert all(each["head"]["kind"] in {"classification", "generative"} for each in found)


@pytest.mark.shipped
def test_a_detector_of_another_kind_is_measured_at_its_own_threshold(
    runner: CliRunner, records: Path, tmp_path: Path
) -> None:
    config = tmp_path / "weir.yaml"
    config.write_text("detector: {kind: bag_of_words}\n")
    result = runner.invoke(evaluate.app, ["detector", "--config", str(config), "--data", str(records), "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    shipped = json.loads(runner.invoke(evaluate.app, ["detector", "--data", str(records), "--json"]).stdout)
    assert report["detector"] != shipped["detector"]
    assert report["threshold"] != shipped["threshold"]
    assert report["sets"]["small"]["n"] == shipped["sets"]["small"]["n"] == 8
    # It is that row itself.
    assert set(report["sets"]["small"]["baselines"]) == {"not a refusal", "always harmful", "length"}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("detector: {kind: transformers, model: x, description: nobody}", [], "'nobody': expected a file"),
        ("detector: {kind: nonsense}", [], "detector.kind"),
        ("{}", ["--weights", "w"], "expected one of --config and --weights"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_an_error(
    runner: CliRunner, records: Path, tmp_path: Path, content: str, options: list[str], message: str
) -> None:
    config = tmp_path / "weir.yaml"
    config.write_text(content)
    result = runner.invoke(
        evaluate.app, ["detector", "--config", str(config), "--data", str(records), *options], env={"COLUMNS": "300"}
    )
    assert result.exit_code == 2
    assert message in result.stderr
