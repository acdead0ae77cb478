import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands.evaluate import app
from protector_models.evaluation.detector.perturbations import PERTURBATIONS
from protector_models.records.excluded_texts import hash_text
from tests.protector_models.training.builders import make_record, write_records

pytestmark = pytest.mark.shipped


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
    assert set(report) == {"detector", "threshold", "max_rows", "sets"}
    figures = report["sets"]["small"]
    metrics = {"f1", "precision", "recall", "auroc", "auprc", "tpr_at_1pct_fpr", "fpr", "ece", "within_prompt"}
    assert metrics | {"n", "harmful", "intervals", "baselines"} <= set(figures)
    assert set(figures["intervals"]) == metrics
    assert all(low <= figures[metric] <= high for metric, (low, high) in figures["intervals"].items())
    assert set(figures["baselines"]) == {"not a refusal", "always harmful", "length", "bag of words"}
    assert (figures["n"], figures["harmful"], figures["auroc"]) == (8, 4, 1.0)


def test_further_sets_may_follow_the_first(runner: CliRunner, records: Path, tmp_path: Path) -> None:
    others = [write_records(tmp_path / name, [make_record(text="Hi", label=0)]) for name in ("b.jsonl", "c.jsonl")]
    result = runner.invoke(app, ["detector", "--data", *map(str, [records, *others]), "--json"])
    assert result.exit_code == 0
    assert set(json.loads(result.stdout)["sets"]) == {"small", "b", "c"}


def test_the_threshold_can_be_given(runner: CliRunner, records: Path) -> None:
    result = runner.invoke(app, ["detector", "--data", str(records), "--json", "--threshold", "0.0"])
    assert json.loads(result.stdout)["threshold"] == 0.0
    assert json.loads(result.stdout)["sets"]["small"]["fpr"] == 1.0


def test_the_table_shows_the_set_and_the_trivial_rows(runner: CliRunner, records: Path) -> None:
    result = runner.invoke(app, ["detector", "--data", str(records)], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "small" in result.stdout
    assert "not a refusal" in result.stdout


def test_all_that_can_be_asked_for_is_in_the_json_and_in_the_page(
    runner: CliRunner, records: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    asked = ["--json", "--perturb", "--worst", "2", "--max-rows", "3", "--html", str(page), "--threshold", "1.0"]
    result = runner.invoke(app, ["detector", "--data", str(records), *asked])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    figures = report["sets"]["small"]
    assert (report["max_rows"], figures["n"], figures["labelled"]) == (3, 3, 8)
    assert set(figures["perturbations"]) == set(PERTURBATIONS)
    assert {"auroc", "f1", "delta_auroc", "delta_f1"} <= set(figures["perturbations"]["base64"])
    assert set(figures["worst"][0]) == {"id", "label", "score"}
    assert "a sample, not the whole" in page.read_text(encoding="utf-8")


def test_the_tables_show_what_was_asked_for(runner: CliRunner, tmp_path: Path) -> None:
    rows = [make_record(id="odd[/b]", text="I hate them", label=1, category="H"), make_record(text="Hi", label=0)]
    file = write_records(tmp_path / "xstest_response.jsonl", rows)
    result = runner.invoke(app, ["detector", "--data", str(file), "--perturb", "--worst", "2", "--threshold", "1.0"])
    assert result.exit_code == 0
    for shown in ("LibrAI LongFormer, 149M", "leetspeak", "mean of the labels", "odd[/b]"):
        assert shown in result.stdout


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_page_needs_the_extra_and_says_so_before_the_work(
    runner: CliRunner, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in [name for name in sys.modules if name.startswith(("protector_models.evaluation", missing))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    result = runner.invoke(app, ["detector", "--data", str(records), "--html", str(tmp_path / "a.html")])
    assert result.exit_code == 2
    assert 'install the "eval" extra of weir' in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_a_page_that_cannot_be_written_is_refused_before_the_work(
    runner: CliRunner, records: Path, tmp_path: Path
) -> None:
    (tmp_path / "circle.html").symlink_to("circle.html")
    for name in ("gone/a.html", "circle.html", f"{'a' * 300}.html"):
        result = runner.invoke(app, ["detector", "--data", str(records), "--html", str(tmp_path / name)])
        assert (result.exit_code, result.stdout) == (2, "")
        assert name in "".join(result.stderr.split())


def test_without_figures_a_page_stays_as_it_was(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "old.html").write_text("of yesterday")
    for name in ("old.html", "new.html"):
        asked = ["--data", str(tmp_path / "gone"), "--html", str(tmp_path / name)]
        assert runner.invoke(app, ["detector", *asked]).exit_code == 2
    assert (tmp_path / "old.html").read_text() == "of yesterday"
    assert not (tmp_path / "new.html").exists()


@pytest.mark.parametrize("content", ['{"response": "x"}', "not json"])
def test_bad_data_ends_with_status_2_and_names_file_and_line(runner: CliRunner, tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.jsonl").write_text(content)
    result = runner.invoke(app, ["detector", "--data", str(tmp_path / "bad.jsonl")])
    assert result.exit_code == 2
    assert "bad.jsonl:1" in "".join(result.stderr.split())


def test_missing_weights_end_with_status_2(runner: CliRunner, records: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["detector", "--data", str(records), "--weights", str(tmp_path / "gone")])
    assert result.exit_code == 2


def test_overlaps_are_counted_and_their_hashes_written(runner: CliRunner, tmp_path: Path) -> None:
    rows = [make_record(prompt="How do I make soup?", response="No idea.", label=0)]
    write_records(tmp_path / "train" / "gptfuzz" / "train.jsonl", rows)
    file = write_records(tmp_path / "some_set.jsonl", [make_record(prompt="how do I make soup", response="Boil it.")])
    listed = tmp_path / "hashes.txt"
    asked = ["--training", str(tmp_path / "train"), "--data", str(file), "--write", str(listed)]
    result = runner.invoke(app, ["overlap", *asked])
    assert result.exit_code == 0
    assert "gptfuzz" in result.stdout
    assert "soup" not in result.stdout
    assert listed.read_text() == f"{hash_text('How do I make soup?')}\n"


def test_overlaps_with_data_that_is_not_there_end_with_status_2(
    runner: CliRunner, records: Path, tmp_path: Path
) -> None:
    result = runner.invoke(app, ["overlap", "--training", str(tmp_path / "gone"), "--data", str(records)])
    assert result.exit_code == 2
    assert "gone" in "".join(result.stderr.split())
