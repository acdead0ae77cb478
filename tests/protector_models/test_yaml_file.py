"""YAML files: keys that are there twice, and merges that are none."""

from pathlib import Path

import pytest

from protector_models.moderation.errors import ConfigurationError
from protector_models.yaml_file import read_yaml


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


@pytest.mark.parametrize("content", ["a: 2026-13-41", "a: [", "a: !!python/name:os.system x", "[" * 50_000, "a: \x00"])
def test_what_is_not_yaml_is_an_error_of_one_line(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"^the file.*: not YAML.*$") as caught:
        read_yaml(file, name="the file")
    assert "\n" not in str(caught.value)
