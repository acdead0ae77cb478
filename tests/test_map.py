"""The map of the project names every file, and no file that is not there."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
FOLDERS = ("protector_models", "services", "pipelines", "infra", "docs", "tests")
MADE = {"__pycache__"}


def _files() -> set[str]:
    found = {path for folder in FOLDERS for path in (PROJECT / folder).rglob("*") if path.is_file()}
    return {
        str(path.relative_to(PROJECT))
        for path in found
        if path.name != "__init__.py" and not MADE & set(path.relative_to(PROJECT).parts) and path.suffix != ".pyc"
    }


def test_every_file_has_a_line_in_the_map_and_every_line_a_file() -> None:
    named = set(re.findall(r"^\| `([^`]+)` \| \S", (PROJECT / "docs" / "map.md").read_text(), re.MULTILINE))
    assert _files() - named == set()
    assert {name for name in named if not (PROJECT / name).exists()} == set()
