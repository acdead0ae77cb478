from pathlib import Path

import pytest

from protector_models.moderation.conversation import Exchange
from protector_models.records.labelled_records import RecordError, read_records
from protector_models.records.record_sets import EvaluationSet, find_sets, read_rows, to_exchange
from tests.protector_models.training.builders import make_record, write_records


def test_directories_and_files_become_sets_under_their_names(tmp_path: Path) -> None:
    for name in ("one/a.jsonl", "one/b.jsonl", "two/c.jsonl"):
        write_records(tmp_path / name, [make_record(response="x")])
    assert [(found.name, len(found.files)) for found in find_sets([tmp_path])] == [("one", 2), ("two", 1)]
    assert [found.name for found in find_sets([tmp_path / "one" / "a.jsonl"])] == ["a"]


def test_files_of_one_name_stay_two_sets(tmp_path: Path) -> None:
    files = [write_records(tmp_path / name / "test.jsonl", [make_record(response="x")]) for name in ("one", "two")]
    assert [(found.name, found.files) for found in find_sets(files)] == [
        ("one/test", (files[0],)),
        ("two/test", (files[1],)),
    ]


def test_sets_of_one_name_take_as_many_directories_as_tell_them_apart(tmp_path: Path) -> None:
    places = ["a/x/t", "b/x/t", "b/y/t", "b/z/u"]
    files = [write_records(tmp_path / f"{place}.jsonl", [make_record(response="x")]) for place in places]
    assert [found.name for found in find_sets(files)] == ["a/x/t", "b/x/t", "y/t", "u"]


@pytest.mark.parametrize("beside", ["a.jsonl.gz", "a/b.jsonl"])
def test_sets_that_no_directory_tells_apart_are_refused(tmp_path: Path, beside: str) -> None:
    write_records(tmp_path / "a.jsonl", [make_record(response="x")])
    write_records(tmp_path / beside, [make_record(response="x")])
    with pytest.raises(RecordError, match="the same name"):
        find_sets([tmp_path / "a.jsonl", (tmp_path / beside) if beside.endswith("gz") else tmp_path / "a"])


def test_a_file_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    file = write_records(tmp_path / "one" / "a.jsonl", [make_record(response="x")])
    assert [found.files for found in find_sets([file, file])] == [(file,)]


def test_a_label_refers_to_the_response_else_the_text_else_the_prompt(tmp_path: Path) -> None:
    rows = [make_record(prompt="p", response="r"), make_record(text="t"), make_record(prompt="p")]
    records = list(read_records(write_records(tmp_path / "a.jsonl", rows)))
    assert list(map(to_exchange, records)) == [
        Exchange(prompt="p", response="r"),
        Exchange(prompt="", response="t"),
        Exchange(prompt="", response="p"),
    ]


def test_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    (record,) = read_records(write_records(tmp_path / "a.jsonl", [make_record(prompt="p", response="")]))
    assert to_exchange(record) == Exchange(prompt="p", response="")


def test_a_lone_surrogate_makes_no_exchange(tmp_path: Path) -> None:
    (record,) = read_records(write_records(tmp_path / "a.jsonl", [make_record(response="\ud800")]))
    assert to_exchange(record) is None


def test_a_sample_is_the_same_in_every_run_and_counts_what_it_was_drawn_from(tmp_path: Path) -> None:
    rows = [make_record(id=f"s/{index}", response="x", label=index % 2) for index in range(50)]
    rows.append(make_record(response="x", label=None))
    found = EvaluationSet(name="s", files=(write_records(tmp_path / "a.jsonl", rows),))
    drawn, again, whole = (read_rows(found, max_rows=max_rows) for max_rows in (10, 10, None))
    assert drawn == again
    assert (len(drawn.labelled), drawn.num_labelled, drawn.num_unlabelled) == (10, 50, 1)
    assert [record for record in whole.labelled if record in drawn.labelled] == drawn.labelled
    assert len(whole.labelled) == 50


def test_a_faulty_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"response": "x", "label": 1}\n{"response": "x", "label": "yes"}\n')
    with pytest.raises(RecordError, match=r"a\.jsonl:2.*'label' must be 0, 1 or null, got 'yes'"):
        read_rows(EvaluationSet(name="a", files=(file,)), max_rows=None)
