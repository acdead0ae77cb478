from pathlib import Path

import pytest

from protector_models.judges.character_judge import WINDOW_CHARACTERS
from protector_models.records.excluded_texts import read_hashes
from protector_models.records.labelled_records import RecordError
from protector_models.training.judges.judge_rows import read_harm_texts, read_toxicity_texts
from tests.protector_models.training.builders import make_record, write_records
from tests.protector_models.training.judges.builders import write_judges_data

pytestmark = pytest.mark.training


def test_no_text_is_on_both_sides_and_all_are_on_one(tmp_path: Path) -> None:
    found = read_toxicity_texts(write_judges_data(tmp_path / "train"))
    training, held_out = ({row.text for row in side} for side in (found.training, found.held_out))
    assert not training & held_out
    assert len(training) + len(held_out) == 3 * 60
    assert held_out


def test_answers_are_cut_by_prompt_and_only_training_ones_to_a_window(tmp_path: Path) -> None:
    data = write_judges_data(tmp_path / "train")
    rows = [make_record(prompt=f"long {number}", response=f"{number} " * 900, label=number % 2) for number in range(60)]
    write_records(data / "gptfuzz/train.jsonl", rows)
    found = read_harm_texts(data, seed=1)
    assert max(len(row.text) for row in found.training) == WINDOW_CHARACTERS
    assert max(len(row.text) for row in found.held_out) > WINDOW_CHARACTERS
    assert found == read_harm_texts(data, seed=1)


def test_unlabelled_empty_and_benchmark_texts_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_judges_data(tmp_path / "train", rows_per_set=0)
    texts = [("kept", 1), ("unlabelled", None), ("  ", 0), ("in a benchmark", 0)]
    write_records(data / "davidson/train.jsonl", [make_record(text=text, label=label) for text, label in texts])
    monkeypatch.setattr(
        "protector_models.training.judges.judge_rows.is_excluded_text", lambda text: text == "in a benchmark"
    )
    found = read_toxicity_texts(data)
    assert [row.text for row in found.training + found.held_out] == ["kept"]
    assert read_hashes()  # the real list is not empty


def test_evaluation_data_and_missing_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="never trained on"):
        read_toxicity_texts(write_judges_data(tmp_path / "eval"))
    (tmp_path / "train").mkdir()
    with pytest.raises(RecordError, match="jbb_family"):
        read_harm_texts(tmp_path / "train", seed=1)
