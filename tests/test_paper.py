"""The page about the paper names files that are there."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
_NAMED = re.compile(r"`([\w./-]+\.(?:py|yaml|md)|[\w./-]+/)`")


def test_every_file_that_the_page_names_is_there() -> None:
    missing: list[str] = []
    num_named = 0
    for cell in re.split(r"[|\n]", (PROJECT / "docs" / "paper.md").read_text()):
        folder = PROJECT
        for name in _NAMED.findall(cell):
            num_named += 1
            # After a file that is named in full, others of its folder stand by their names alone.
            found = next((path for path in (PROJECT / name, folder / name) if path.exists()), None)
            if found is None:
                missing.append(name)
            else:
                folder = found if found.is_dir() else found.parent
    assert num_named > 30
    assert missing == []
