"""Files that evaluations draw into."""

from pathlib import Path

import pytest

from pipelines.commands.drawn_files import require_drawable, write_drawing
from protector_models.moderation.errors import ConfigurationError

INSTALLED = "json"


def test_a_file_that_can_be_written_stays_as_it_was(tmp_path: Path) -> None:
    old, new = tmp_path / "old.svg", tmp_path / "new.svg"
    old.write_text("of yesterday")
    for file in (old, new):
        require_drawable(file, option="--plot", drawn_by=INSTALLED)
    assert old.read_text() == "of yesterday"
    assert not new.exists()


@pytest.mark.parametrize("name", ["gone/plot.svg", ".", "a" * 300])
def test_a_file_that_cannot_be_written_is_refused_with_its_option(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--plot: "):
        require_drawable(tmp_path / name, option="--plot", drawn_by=INSTALLED)


def test_what_draws_and_is_not_installed_is_refused_with_the_extra_that_has_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match='--plot needs no_such_module: install the "eval" extra of weir'):
        require_drawable(tmp_path / "plot.svg", option="--plot", drawn_by="no_such_module")


def test_a_drawing_is_written_or_refused(tmp_path: Path) -> None:
    write_drawing(tmp_path / "plot.svg", "<svg/>", option="--plot")
    assert (tmp_path / "plot.svg").read_text() == "<svg/>"
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_drawing(tmp_path / "gone" / "plot.svg", "<svg/>", option="--plot")
