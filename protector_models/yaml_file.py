"""Reads YAML files in which no key is there twice."""

from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from yaml.parser import ParserError
from yaml.scanner import ScannerError

from protector_models.moderation.errors import ConfigurationError


class _DuplicateKeyError(yaml.MarkedYAMLError):
    """A mapping has a key twice: of the two values one would silently be lost."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which of two values of one key would take the last, made to refuse them."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        # Here and not where mappings are constructed: there they hold also what is merged into them by `<<`.
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            identity = (key.tag, key.value)
            if identity in lines:
                problem = f"key {key.value!r:.80} is there twice, first in line {lines[identity]}"
                raise _DuplicateKeyError(problem=problem, problem_mark=key.start_mark)
            lines[identity] = key.start_mark.line + 1
        return node


def read_yaml(file: Path | Traversable, *, name: str) -> Any:
    """Return what a YAML file holds.

    Args:
        file: the file, in UTF-8.
        name: what errors call it.

    Raises:
        ConfigurationError: the file cannot be read, is not YAML, or has a key twice. One line, which names the place
            and quotes none of the values: they may be secrets.
    """
    try:
        return yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # it is a SafeLoader
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot be read: {error.strerror}") from error
    except _DuplicateKeyError as error:
        raise ConfigurationError(f"{name}{_place(error)}: {error.problem}") from None
    except yaml.MarkedYAMLError as error:
        # Neither all of the message nor the cause: they quote the line.
        problem = error.problem if isinstance(error, ScannerError | ParserError) else type(error).__name__
        raise ConfigurationError(f"{name}{_place(error)}: not YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a value such as 2026-13-01 is a ValueError
        raise ConfigurationError(f"{name}: not YAML in UTF-8: {type(error).__name__}") from None


def _place(error: yaml.MarkedYAMLError) -> str:
    return "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
