"""The map of the project is what its files say of themselves."""

from tests.project_map import MAP, make_map


def test_the_map_is_whole_and_every_line_is_what_the_file_says() -> None:
    assert MAP.read_text() == make_map(), "docs/map.md: expected what `make map` writes"
