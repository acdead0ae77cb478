"""Makes docs/map.md: a line for every file, taken from its docstring. `make map` writes it, a test compares it.

What a file that is not Python is for stands in the map alone: such lines are kept as they are.
"""

import ast
import re
import subprocess
from collections import defaultdict
from pathlib import Path

PROJECT = Path(__file__).parents[1]
MAP = PROJECT / "docs" / "map.md"

_INTRODUCTION = """\
# The map

Every room and every file, in one line each. `make map` makes this page from docstrings, and a test holds that it is
whole. Tests mirror the tree and are not listed, but for what they share; `__init__.py` files hold a docstring, which
stands here under the name of their folder, and only that of the core more than it: the names that hold still.
"""
_TOPS = ("", "protector_models", "services", "pipelines", "infra", "docs", "tests")
_LINE = re.compile(r"^\| `([^`]+)` \| (\S.*) \|$", re.MULTILINE)


class NotDescribedError(ValueError):
    """A file that is not Python has no line in the map; write one by hand."""


def make_map() -> str:
    """Return what docs/map.md should say.

    Raises:
        NotDescribedError: the map has no line for a file that is not Python.
    """
    kept = dict(_LINE.findall(MAP.read_text()))
    rooms: dict[str, list[str]] = defaultdict(list)
    for path in _list_files():
        if path.name == "__init__.py" or (path.parts[0] == "tests" and path.name.startswith("test_")):
            continue
        rooms[_room_of(path)].append(f"| `{path}` | {_describe(path, kept)} |")
    ordered = sorted(rooms, key=lambda room: (_TOPS.index(room.split("/", maxsplit=1)[0]), room))
    return "\n".join([_INTRODUCTION, *(_section(room, rooms[room]) for room in ordered)])


def _section(room: str, lines: list[str]) -> str:
    package = PROJECT / room / "__init__.py"
    title = f"`{room}/`" if room else "Top level"
    about = f"\n{_first_line(package)}.\n" if room and package.exists() and _first_line(package) else ""
    table = "\n".join(["| file | what it is |", "|---|---|", *sorted(lines)])
    return f"## {title}\n{about}\n{table}\n"


def _list_files() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    return sorted({Path(name) for name in names if (PROJECT / name).is_file()})


def _room_of(path: Path) -> str:
    """Return the folder that a file is listed under: its package, or the top of what is no package."""
    if path.parts[0] in {"docs", "infra"}:
        return path.parts[0]
    if path.parts[0] in _TOPS:
        for parent in path.parents:
            if (PROJECT / parent / "__init__.py").exists():
                return str(parent)
    return ""


def _describe(path: Path, kept: dict[str, str]) -> str:
    if path.suffix == ".py":
        return _first_line(PROJECT / path)
    if str(path) not in kept:
        raise NotDescribedError(f"{path}: expected a line in docs/map.md that says what it is: | `{path}` | ... |")
    return kept[str(path)]


def _first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return docstring.split("\n\n")[0].replace("\n", " ").replace("|", r"\|").rstrip(".")


if __name__ == "__main__":
    MAP.write_text(make_map())
