"""The benchmark of the detector measures what it says."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from typer.testing import CliRunner

from pipelines.__main__ import app
from pipelines.bench.detector import LENGTHS, make_texts
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, TOKENIZER_FILE

pytestmark = pytest.mark.training


def test_texts_have_exactly_the_length_they_stand_for() -> None:
    tokenizer = Tokenizer.from_file(str(SHIPPED_WEIGHTS / TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = make_texts(SHIPPED_WEIGHTS / TOKENIZER_FILE, 5)
    for length in LENGTHS:
        assert [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts[length]] == [length] * 5
    assert texts == make_texts(SHIPPED_WEIGHTS / TOKENIZER_FILE, 5)


def test_it_prints_one_object_with_the_smallest_ratio_first_and_each_length_under_its_own_key() -> None:
    result = CliRunner().invoke(
        app, ["bench", "detector", "--json", "--threads", "1", "--repeats", "1", "--texts", "1"], catch_exceptions=False
    )
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    expected = {"benchmark", "ratio", "value", "against", "unit", "hardware", "repeats"}
    rows = [report[str(length)] for length in LENGTHS]
    assert all(expected <= row.keys() and row["ratio"] > 0 for row in [report, *rows])
    assert report["ratio"] == min(row["ratio"] for row in rows)


@pytest.mark.training
@pytest.mark.parametrize("family", ["bert", "mllm-protector"])
def test_a_configured_classifier_is_measured_against_plain_transformers(tmp_path: Path, family: str) -> None:
    # Imported here: transformers takes seconds.
    from protector_models.tiny_checkpoints.classifiers import FAMILIES, configure_classifier  # noqa: PLC0415

    section = configure_classifier(family, FAMILIES[family](tmp_path / family))
    (tmp_path / "weir.yaml").write_text(json.dumps({"detector": section}, default=str))
    options = ["--json", "--threads", "1", "--repeats", "1", "--texts", "2", "--config", str(tmp_path / "weir.yaml")]
    result = CliRunner().invoke(app, ["bench", "detector", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert all(report[str(length)]["ratio"] > 0 for length in LENGTHS)
    assert Path(str(section["model"])).name in report["benchmark"]


@pytest.mark.parametrize("options", [("--config", "weir.yaml"), ("--config", "weir.yaml", "--weights", ".")], ids=len)
@pytest.mark.parametrize("detector", ["{kind: bag_of_words}", "{engine: torch}"])
def test_what_cannot_be_measured_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], detector: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weir.yaml").write_text(f"detector: {detector}")
    result = CliRunner().invoke(app, ["bench", "detector", *options])
    assert result.exit_code == 2
    assert "expected" in result.stderr
