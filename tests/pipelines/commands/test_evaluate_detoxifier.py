import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands import evaluate_detoxifier
from pipelines.commands.evaluate import app
from protector_models.evaluation.detoxification.behaviours.row_files import FORMS
from protector_models.moderation.fakes import FakeTextEditor
from tests.protector_models.training.builders import make_record, write_records

pytestmark = pytest.mark.training

HARMFUL = "You are a worthless idiot and everybody hates you. Go and kill yourself."


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    editor = FakeTextEditor(lambda text: text.replace("idiots", "people"))
    monkeypatch.setattr(evaluate_detoxifier, "_load_editor", lambda _settings, _num_threads: editor)
    return CliRunner()


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """One set of each kind, and a configuration whose Moderator needs no edit model."""
    pairs = [
        make_record(text=f"you idiots missed train {number // 2}", pair=f"you missed it {number}", label=1)
        for number in range(8)
    ]
    write_records(tmp_path / "data/paradetox_eval/a.jsonl", pairs)
    safe = [make_record(id=f"s/{number}", prompt="How?", response=f"Take bus {number}.") for number in range(4)]
    write_records(tmp_path / "data/llava_benign/a.jsonl", safe)
    harmful = [make_record(id=f"h/{number}", prompt="Say it.", response=HARMFUL, label=1) for number in range(4)]
    write_records(tmp_path / "data/xstest_response/a.jsonl", harmful)
    (tmp_path / "policy.yaml").write_text(
        "version: test-1\nrules: [{threshold: 0.5, action: rewrite}]\nsafe_completions: {default: Let us stop here.}\n"
    )
    (tmp_path / "weir.yaml").write_text("policy: policy.yaml\ndetoxifier: {edit: false}\n")
    return ["detoxifier", "--data", str(tmp_path / "data"), "--config", str(tmp_path / "weir.yaml")]


def test_json_has_every_figure_and_no_text(runner: CliRunner, options: list[str]) -> None:
    result = runner.invoke(app, [*options, "--json", "--max-rows", "3"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    figures = report["sets"]["paradetox_eval"]
    assert figures["n"] == 3
    assert set(figures["rows"]) == {"duplicate", "delete", "reference", "weir"}
    for row in figures["rows"].values():
        assert {"sta", "sim", "chrf", "fluency", "j", "edit_rate", "intervals"} <= set(row)
    assert figures["rows"]["duplicate"]["sim"] == pytest.approx(1.0, abs=1e-5)
    assert figures["rows"]["reference"]["chrf"] == pytest.approx(1.0)
    assert report["safe_changed"] == {"llava_benign": 0.0}
    assert report["harmful_sets"]["xstest_response"]["methods"] == {"complete": 3}
    assert report["harmful_sets"]["xstest_response"]["made_by"]["complete"]["n"] == 3
    assert set(report["residual_harm"]) == {"xstest_response"}
    assert (report["released_above_threshold"], report["max_rows"]) == (0, 3)
    assert report["behaviours"]["half"] == "all"
    assert {name: kind["n"] for name, kind in report["behaviours"]["kinds"].items()} == dict.fromkeys(FORMS, 3)
    assert all(kind["failures"] == [] for kind in report["behaviours"]["kinds"].values())
    assert report["revisions"]["policy"].startswith("test-1@")
    # .85 was aimed at and not reached (docs/experiments.md); below this it would not tell a broken sentence clearly.
    assert report["judges"]["fluency_auroc_low"] >= 0.8
    assert "idiot" not in result.stdout


def test_tables_show_every_kind_of_set(runner: CliRunner, options: list[str]) -> None:
    result = runner.invoke(app, [*options, "--behaviour", "editable"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for shown in ("paradetox_eval", "llava_benign", "xstest_response", "complete 4", "J of weir", "weir-judges@"):
        assert shown in result.stdout


def test_without_data_the_behaviours_alone_are_measured_and_their_rows_may_be_shown(
    runner: CliRunner, options: list[str]
) -> None:
    chosen = ["--behaviour", "innocent_sentences", "--behaviour", "editable", "--half", "development"]
    configured = [options[0], *options[3:], *chosen, "--max-rows", "6", "--show-failures", "2"]
    result = runner.invoke(app, configured, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for shown in ("Behaviours, the development half", "at most 0.03", "editable: rows that did not end as wanted"):
        assert shown in result.stdout
    assert "Harmful answers" not in result.stdout
    report = json.loads(runner.invoke(app, [*configured, "--json"]).stdout)
    assert (report["sets"], list(report["behaviours"]["kinds"])) == ({}, ["innocent_sentences", "editable"])
    assert report["behaviours"]["kinds"]["innocent_sentences"]["figures"]["changed"]["value"] == 0.0
    # The fake edit model knows one word, which stands in none of these.
    assert len(report["behaviours"]["kinds"]["editable"]["failures"]) == 2


def test_a_behaviour_that_there_is_not_ends_with_status_2(runner: CliRunner) -> None:
    result = runner.invoke(app, ["detoxifier", "--behaviour", "politeness"])
    assert result.exit_code == 2
    assert "--behaviour: expected some of leftovers" in result.stderr


def test_judges_that_are_not_there_end_with_status_2(runner: CliRunner, options: list[str], tmp_path: Path) -> None:
    result = runner.invoke(app, [*options, "--judges", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "card.json" in result.stderr
