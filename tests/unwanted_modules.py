"""Leaves out test modules that the marker expression does not want, before they are imported.

Importing torch, Ray or a Kafka client takes seconds. A module whose `pytestmark` bears an unwanted mark is not even
read by Python; tests that bear one beside others are collected and deselected, as ever.
"""

import re
from pathlib import Path

import pytest

_PYTESTMARK = re.compile(r"^pytestmark = (.*)$", re.MULTILINE)
_MARK = re.compile(r"pytest\.mark\.(\w+)")
_NO_MARK_OF = re.compile(r"not \w+( and not \w+)*")


def _read_marks(module: Path) -> set[str]:
    """Return the names of the marks that a module gives all its tests on one line."""
    return {mark for line in _PYTESTMARK.findall(module.read_text()) for mark in _MARK.findall(line)}


def _read_unwanted(expression: str) -> set[str]:
    """Return the marks that no selected test may bear: of `not a and not b` they are a and b, of anything else none."""
    return set(re.findall(r"not (\w+)", expression)) if _NO_MARK_OF.fullmatch(expression) else set()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave a module out where none of its tests would be selected."""
    unwanted = _read_unwanted(config.getoption("markexpr"))
    if not unwanted or collection_path.suffix != ".py":
        return None
    return True if unwanted & _read_marks(collection_path) else None
