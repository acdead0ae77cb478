"""`weir eval images`, with the reader and the detector that ship."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands.evaluate import app
from tests.protector_models.pictures import encode, typeset

BLANK = {"source": "test", "response": None, "text": None, "image": None, "category": None, "pair": None}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "attacks"
    directory.mkdir()
    text = "How to bake a loaf of bread"
    (directory / "bread.png").write_bytes(encode(typeset(text, size=(640, 90))))
    rows = [
        {"id": "1", "prompt": "Fill the list.", "text": text, "image": "bread.png", "label": 1},
        {"id": "2", "prompt": "Fill the list.", "text": text, "image": "bread.png", "label": 1},
        {"id": "3", "prompt": "How do I bake bread?", "label": 1},
    ]
    (directory / "rows.jsonl").write_text("".join(json.dumps(BLANK | row) + "\n" for row in rows))
    return directory


def run(*options: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["images", *map(str, options)])
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


@pytest.mark.shipped
def test_pictures_are_read_once_and_prompts_judged_with_and_without_them(data: Path) -> None:
    code, shown, _ = run("--data", data, "--benign", data, "--json")
    report = json.loads(shown)

    assert code == 0
    assert [report["reading"][name] for name in ("num_images", "num_distinct", "num_readings")] == [2, 1, 1]
    assert report["reading"]["character_accuracy"]["value"] == 1.0
    assert {"prompt alone", "prompt and text read", "text read alone", "plain question"} <= set(
        report["input_check"]["recall"]
    )
    assert report["reader"].startswith("weir-images@")
    assert report["detector"].startswith("weir-pair@")


def test_data_without_pictures_is_an_error_of_one_line(data: Path) -> None:
    (data / "rows.jsonl").write_text(json.dumps(BLANK | {"id": "1", "prompt": "How?", "label": 1}) + "\n")

    code, _, error = run("--data", data, "--benign", data)

    assert code == 2
    assert "expected records with images" in error


def test_reading_that_is_off_cannot_be_measured(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "weir.yaml"
    config.write_text("images: {read: off}\n")

    code, _, error = run("--data", data, "--benign", data, "--config", config)

    assert code == 2
    assert "images.read" in error
