import gzip
from pathlib import Path

import pytest

from protector_models.records.labelled_records import RecordError, find_record_files, read_records
from tests.protector_models.training.builders import make_record, write_records

pytestmark = pytest.mark.training


def test_a_record_is_read_with_nulls_as_empty_texts(tmp_path: Path) -> None:
    file = write_records(tmp_path / "a.jsonl", [make_record(prompt="p", response="r", label=1)])
    (record,) = read_records(file)
    assert (record.prompt, record.response, record.text, record.label) == ("p", "r", "", 1)


def test_the_part_that_makes_a_response_harmful_is_read_where_a_record_names_it(tmp_path: Path) -> None:
    named = make_record(response="Hi. Go away.", label=1, harmful_part="Go away.")
    file = write_records(tmp_path / "a.jsonl", [named, make_record(response="Hi.", label=1)])
    assert [record.harmful_part for record in read_records(file)] == ["Go away.", ""]


def test_gzip_and_plain_files_read_alike_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    plain = write_records(tmp_path / "a.jsonl", [make_record(text="t")])
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(b"\n" + plain.read_bytes() + b"\n"))
    assert list(read_records(plain)) == list(read_records(packed))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object"),
        ('{"response": "r"}', "no 'label'"),
        ('{"response": "r", "label": "1"}', "'label' must be"),
        ('{"response": "r", "label": true}', "'label' must be"),
        ('{"response": "r", "label": 1.0}', "'label' must be"),
        ('{"response": ["r"], "label": 1}', "'response' must be a string"),
        ('{"label": 1}', "all missing or empty"),
        pytest.param("[" * 200_000, "cannot be read: RecursionError", id="a deep array"),
        pytest.param('{"label": ' + "1" * 5_000 + "}", "cannot be read: ValueError", id="a long integer"),
        ("\udcff", "not UTF-8: invalid start byte at byte 1"),
    ],
)
def test_a_faulty_line_is_named_by_file_and_line(tmp_path: Path, line: str, fault: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"response": "fine", "label": 0}\n' + line + "\n", encoding="utf-8", errors="surrogateescape")
    with pytest.raises(RecordError, match=fault) as error:
        list(read_records(file))
    assert f"{file}:2" in str(error.value)


@pytest.mark.parametrize("content", [b"\x1f\x8b broken", b"", gzip.compress(b'{"label": 0}', mtime=0)[:-12]])
def test_a_damaged_gzip_file_is_an_error_that_names_it_or_holds_nothing(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(content)
    if not content:
        assert list(read_records(file)) == []
        return
    with pytest.raises(RecordError, match=r"a\.jsonl\.gz"):
        list(read_records(file))


def test_a_directory_without_records_and_a_missing_path_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="holds no file"):
        find_record_files(tmp_path)
    with pytest.raises(RecordError, match="no such"):
        find_record_files(tmp_path / "gone")


def test_categories_given_as_a_table_become_the_names_that_are_set(tmp_path: Path) -> None:
    file = write_records(tmp_path / "a.jsonl", [make_record(text="t", category={"V": 1, "S": 1, "H": 0})])
    assert next(read_records(file)).category == "S,V"
