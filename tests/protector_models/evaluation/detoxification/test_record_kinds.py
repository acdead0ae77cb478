from pathlib import Path

import pytest

from protector_models.evaluation.detoxification.record_kinds import read_sets
from protector_models.records.labelled_records import RecordError
from tests.protector_models.training.builders import make_record, write_records


def _write(directory: Path) -> Path:
    pairs = [make_record(text=f"toxic {number // 2}", pair=f"mild {number}", label=1) for number in range(8)]
    write_records(directory / "paradetox_eval" / "a.jsonl", pairs)
    answers = [make_record(id=f"r/{number}", response=f"answer {number}", label=number % 2) for number in range(6)]
    answers.append(make_record(id="unlabelled", response="x", label=None))
    write_records(directory / "llava_benign" / "a.jsonl", answers)
    write_records(directory / "xstest_response" / "a.jsonl", answers)
    write_records(directory / "dynahate" / "a.jsonl", answers)
    return directory


def test_sets_are_known_by_name_and_only_the_fitting_rows_are_taken(tmp_path: Path) -> None:
    sets = read_sets([_write(tmp_path)], max_rows=None)
    assert {name: len(rows) for name, rows in sets.pairs.items()} == {"paradetox_eval": 8}
    assert [record.label for record in sets.safe["llava_benign"]] == [0, 0, 0]
    assert [record.label for record in sets.harmful["xstest_response"]] == [1, 1, 1]
    assert sets.count_steps() == 4 + 2 * 3 + 3


def test_a_sample_keeps_the_records_of_a_text_together_and_is_the_same_in_every_run(tmp_path: Path) -> None:
    first, second = (read_sets([_write(tmp_path)], max_rows=2) for _ in range(2))
    assert first == second
    texts = [record.text for record in first.pairs["paradetox_eval"]]
    assert (len(texts), len(set(texts))) == (4, 2)
    assert len(first.safe["llava_benign"]) == 2


def test_a_place_without_any_of_the_sets_is_an_error_that_names_them(tmp_path: Path) -> None:
    write_records(tmp_path / "dynahate" / "a.jsonl", [make_record(text="x")])
    with pytest.raises(RecordError, match="expected some of paradetox_eval, appdia"):
        read_sets([tmp_path], max_rows=None)
