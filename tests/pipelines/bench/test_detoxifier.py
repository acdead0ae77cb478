"""The benchmark of the edit model measures what it says."""

import json

import pytest
from tokenizers import Tokenizer
from typer.testing import CliRunner

from pipelines.__main__ import app
from pipelines.bench.detoxifier import LENGTH, make_short_texts
from protector_models.detoxification.edit_model import EDIT_TOKENIZER_FILE, SHIPPED_EDIT_MODEL, EditModel

pytestmark = pytest.mark.training


def test_texts_have_exactly_the_length_they_stand_for_and_half_of_them_are_edited() -> None:
    texts = make_short_texts(SHIPPED_EDIT_MODEL / EDIT_TOKENIZER_FILE, 60)
    tokenizer = Tokenizer.from_file(str(SHIPPED_EDIT_MODEL / EDIT_TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    assert {len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts} == {LENGTH}
    edited = EditModel.load(num_threads=1).edit(texts)
    num_edited = sum(text != other for text, other in zip(texts, edited, strict=True))
    assert 0.3 <= num_edited / len(texts) <= 0.7


def test_it_prints_one_comparison() -> None:
    arguments = ["bench", "detoxifier", "--json", "--threads", "1", "--repeats", "2", "--texts", "4"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["ratio_lowest"] <= report["ratio"] <= report["ratio_highest"]
    assert (report["unit"], report["repeats"]) == ("texts/s", 2)


def test_weights_that_are_not_there_are_named(tmp_path: object) -> None:
    result = CliRunner().invoke(app, ["bench", "detoxifier", "--weights", f"{tmp_path}/none"])
    assert result.exit_code == 2
    assert "card.json" in result.stderr
