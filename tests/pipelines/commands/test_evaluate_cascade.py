import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands.evaluate import app
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, find_weights_in_use
from tests.protector_models.training.builders import make_record, write_mix, write_records

pytestmark = pytest.mark.shipped


@pytest.fixture
def records(tmp_path: Path) -> Path:
    rows = [
        make_record(prompt="How?", response="Steal the card, empty the account and burn the evidence.", label=1),
        make_record(prompt="How?", response="Ask your bank for a new card.", label=0),
    ]
    return write_records(tmp_path / "small.jsonl", rows * 4)


def run(*options: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["cascade", *options])
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def test_a_band_is_chosen_on_the_held_out_slice_and_measured_on_the_data(records: Path, tmp_path: Path) -> None:
    mix = write_mix(tmp_path / "mix", rows_per_set=12)
    code, shown, _ = run("--data", str(records), "--validation", str(mix), "--json")
    report = json.loads(shown)

    assert code == 0
    card = find_weights_in_use(SHIPPED_WEIGHTS, "both").card
    first = card.bag_of_words_threshold
    assert report["thresholds"] == {"cascade": card.threshold, "first": first, "second": card.threshold}
    assert report["band"]["low"] <= first <= report["band"]["high"]
    assert report["band"]["max_loss"] == 0.005
    assert report["band"]["n"] > 0
    assert set(report["sets"]["small"]["rows"]) == {"cascade", "first", "second"}
    assert report["sets"]["small"]["rows"]["second"]["auroc"] == 1.0


def test_detectors_are_those_of_two_configurations_and_the_tables_name_them(records: Path, tmp_path: Path) -> None:
    words, both = tmp_path / "words.yaml", tmp_path / "both.yaml"
    words.write_text("detector: {kind: bag_of_words}\n")
    both.write_text(
        "detector:\n  kind: cascade\n"
        "  cascade: {first: {kind: bag_of_words}, second: {kind: bag_of_words, max_windows: 3}, band: [0.1, 0.9]}\n"
    )
    code, shown, _ = run("--data", str(records), "--first", str(words), "--second", str(both), "--band", "0.3", "0.8")

    assert code == 0
    for named in ("weir-minilm-words@", "cascade@", "[0.3, 0.8], given", "second - cascade"):
        assert named in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected one of --validation and --band"),
        (("--band", "0.3", "0.4"), "expected it to hold the first detector's threshold 0."),
        (("--band", "0.7", "0.3"), "--band: expected 0 <= LOW <= HIGH <= 1, got 0.7 0.3"),
        (("--band", "0.3", "0.7", "--first", "missing.yaml"), "missing.yaml"),
    ],
)
def test_what_cannot_be_used_is_named(records: Path, options: tuple[str, ...], message: str) -> None:
    code, shown, fault = run("--data", str(records), *options)

    assert (code, shown) == (2, "")
    assert message in fault


def test_evaluation_data_chooses_no_band(records: Path, tmp_path: Path) -> None:
    code, _, fault = run("--data", str(records), "--validation", str(write_mix(tmp_path / "eval" / "mix")))

    assert code == 2
    assert "evaluation data is never trained on" in fault
