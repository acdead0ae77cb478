"""The benchmark of the detector measures what it says."""

import json

from tokenizers import Tokenizer
from typer.testing import CliRunner

from pipelines.__main__ import app
from pipelines.bench.detector import LENGTHS, make_texts
from protector_models.detectors.harm_detector import SHIPPED_WEIGHTS, TOKENIZER_FILE


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
