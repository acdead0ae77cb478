"""The list of known images: its form, its errors, and what is near enough."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.images.known_images import KnownImages
from protector_models.moderation.errors import ConfigurationError

SHA = "ab" * 32
PERCEPTUAL = "00000000000000ff"


def write(directory: Path, content: str) -> Path:
    file = directory / "known.txt"
    file.write_text(content, encoding="utf-8")
    return file


def load(directory: Path, content: str, max_distance: int = 4) -> KnownImages:
    return KnownImages.load(write(directory, content), max_distance=max_distance)


def test_an_entry_is_found_by_the_bytes_and_named(tmp_path: Path) -> None:
    known = load(tmp_path, f"# a list\n\n{SHA} the first one\n")

    assert known.find(SHA, []) == "the first one"
    assert known.find("cd" * 32, [PERCEPTUAL]) is None


def test_an_entry_without_a_name_is_known_by_its_hash_whatever_its_case(tmp_path: Path) -> None:
    assert load(tmp_path, SHA.upper()).find(SHA, []) == SHA


@given(distance=st.integers(0, 64), max_distance=st.integers(0, 16))
def test_a_view_is_known_as_far_as_the_greatest_distance(
    tmp_path_factory: pytest.TempPathFactory, distance: int, max_distance: int
) -> None:
    known = load(tmp_path_factory.mktemp("list"), "0000000000000000 a picture", max_distance)
    seen = f"{(1 << distance) - 1:016x}"

    assert known.find(SHA, [seen]) == ("a picture" if distance <= max_distance else None)


def test_the_nearest_entry_of_any_view_is_the_one(tmp_path: Path) -> None:
    known = load(tmp_path, f"{PERCEPTUAL} far\n000000000000000f near\n")

    assert known.find(SHA, ["ffffffffffffffff", "000000000000001f"]) == "near"


def test_equal_bytes_go_before_likeness(tmp_path: Path) -> None:
    known = load(tmp_path, f"{PERCEPTUAL} alike\n{SHA} equal\n")

    assert known.find(SHA, [PERCEPTUAL]) == "equal"


@pytest.mark.parametrize("line", ["xyz", SHA[:-1], f"{PERCEPTUAL}0 name", "-00000000000000f"])
def test_errors_name_file_and_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"known\.txt, line 2: expected 64 or 16 hexadecimal digits"):
        load(tmp_path, f"{SHA}\n{line}\n")


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"images\.known\.file: .*gone\.txt: cannot be read"):
        KnownImages.load(tmp_path / "gone.txt", max_distance=0)


def test_another_list_has_another_digest(tmp_path: Path) -> None:
    assert load(tmp_path, SHA).digest != load(tmp_path, f"{SHA} name").digest
