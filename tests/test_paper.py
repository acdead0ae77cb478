"""The page about the paper names files that are there."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
FOLDERS = ("protector_models", "services", "pipelines", "docs")


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r"`([\w./-]+\.(?:py|yaml|md)|[\w./-]+/)`", (PROJECT / "docs" / "paper.md").read_text())
    assert len(named) > 30
    paths = {path.relative_to(PROJECT).as_posix() for folder in FOLDERS for path in (PROJECT / folder).rglob("*")}
    # Beside a file that is named in full, others of its folder stand by their names alone.
    missing = [name for name in named if not any(f"/{path}".endswith(f"/{name.rstrip('/')}") for path in paths)]
    assert missing == []
