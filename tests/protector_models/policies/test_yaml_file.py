"""YAML files: keys that are there twice, merges that are none, what is read as something else, and where it stands."""

from pathlib import Path

import pytest

from protector_models.moderation.errors import ConfigurationError
from protector_models.policies.yaml_file import Written, read_yaml, read_yaml_document


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.yaml"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "the file, line 3: key 'a' is there twice, first in line 1"),
        ("s:\n  t:\n    - {k: 1, 'k': 2}\n", "the file, line 3: key 'k' is there twice, first in line 3"),
        ("1: a\n1: b\n", "the file, line 2: key '1' is there twice, first in line 1"),
    ],
)
def test_a_key_that_is_there_twice_is_named_with_its_line(file: Path, content: str, expected: str) -> None:
    file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        read_yaml(file, name="the file")
    assert str(caught.value) == expected


def test_keys_of_different_mappings_and_merged_ones_may_be_the_same(file: Path) -> None:
    file.write_text("a: &a {k: 1}\nb: {c: &c {<<: *a, k: 2}}\nd: {<<: *c, k: 3}\ne: *a\n")
    assert read_yaml(file, name="x") == {"a": {"k": 1}, "b": {"c": {"k": 2}}, "d": {"k": 3}, "e": {"k": 1}}


@pytest.mark.parametrize("content", ["a: 2026-13-41", "a: [", "a: !!python/name:os.system x", "[" * 1_000, "a: \x00"])
def test_what_is_not_yaml_is_an_error_of_one_line(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"^the file.*: not YAML.*$") as caught:
        read_yaml(file, name="the file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["no", "No", "NO", "off", "Off", "false", "yes", "on", "ON", "True"])
@pytest.mark.parametrize("content", ["a:\n  {}: x\n", "a:\n  {{b: c, {}: x}}\n", "a:\n  ? {}\n  : x\n"])
def test_a_word_for_true_or_false_is_no_key(file: Path, content: str, word: str) -> None:
    file.write_text(content.format(word))
    meaning = "true" if word.lower() in {"yes", "on", "true"} else "false"
    with pytest.raises(ConfigurationError) as caught:
        read_yaml(file, name="the file")
    assert str(caught.value) == f"the file, line 2: key {word!r} is {meaning} in YAML: quote it"


def test_such_a_word_in_quotes_is_a_key_and_as_a_value_it_is_true_or_false(file: Path) -> None:
    file.write_text("'no': Nei\n\"on\": off\n")
    assert read_yaml(file, name="x") == {"no": "Nei", "on": False}


@pytest.mark.parametrize("content", ["{a: 0,5}", "{a: 0,461, b: 1}", "[{x: y,\n a: -1,05 }]", "{b: {a: 12,0}}"])
def test_a_number_with_a_decimal_comma_is_refused_where_it_would_be_a_number_and_a_key(
    file: Path, content: str
) -> None:
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"^the file, line [12]: .*decimal comma: a decimal point is meant$"):
        read_yaml(file, name="the file")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{a: 0, 5: null}", {"a": 0, 5: None}),
        ("{a: 0,5: x}", {"a": 0, 5: "x"}),
        ("{a: x,5}", {"a": "x", 5: None}),
        ("a: 0,5", {"a": "0,5"}),
        ("[0,5]", [0, 5]),
    ],
)
def test_other_commas_stand_between_things(file: Path, content: str, expected: object) -> None:
    file.write_text(content)
    assert read_yaml(file, name="x") == expected


def test_a_document_knows_where_things_stand_and_how_they_are_written(file: Path) -> None:
    file.write_text("a: &a\n  - no\n  - {b: '1'}\nc:\n  d: *a\ne: {<<: {f: 1.10}}\n")
    document = read_yaml_document(file, name="x")
    assert document.find(["a", 0]) == Written(line=2, text="no", is_quoted=False)
    assert document.find(["a", 1, "b"]) == Written(line=3, text=None, is_quoted=True)
    assert document.find(["c", "d"]) == Written(line=5, text=None, is_quoted=False)
    assert document.find(["c", "(a union's member)", "d", 0]) == Written(line=2, text="no", is_quoted=False)
    assert document.find(["e", "f"]) == Written(line=6, text="1.10", is_quoted=False)
    assert document.find(["g"]) is document.find([]) is None
