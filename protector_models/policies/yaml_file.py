"""YAML files in which no key is there twice, read together with the places where things stand in them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from yaml.parser import ParserError
from yaml.scanner import ScannerError

from protector_models.moderation.errors import ConfigurationError

_BOOLEAN = "tag:yaml.org,2002:bool"
_WHOLE_NUMBER = "tag:yaml.org,2002:int"
_TRUE_WORDS = frozenset({"yes", "on", "true"})


class _UnmeantError(yaml.MarkedYAMLError):
    """YAML that is read as something else than what was meant, or of which a part would silently be lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A place of a YAML file, as it is written there."""

    line: int
    """Counted from 1."""
    text: str | None
    """Of a single value that stands without quotes; None for all else."""
    is_quoted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlDocument:
    """What a YAML file holds, and where."""

    content: Any
    root: yaml.Node | None
    """None where the file is empty."""

    def find(self, steps: Sequence[int | str]) -> Written | None:
        """Return what stands at the end of a path of keys and positions; None where the path leads nowhere.

        Steps that the file does not have, such as pydantic's names for the members of a union, are passed over.
        """
        node, line = self.root, None
        for step in steps:
            found = None if node is None else _child(node, step)
            if found is not None:
                place, node = found
                line = place.start_mark.line + 1
        if node is None or line is None:
            return None
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        is_quoted = isinstance(node, yaml.ScalarNode) and not is_plain
        return Written(line=line, text=node.value if is_plain else None, is_quoted=is_quoted)


class _Loader(yaml.SafeLoader):
    """The safe loader, which of two values of one key would take the last, made to refuse them."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        # Here and not where mappings are constructed: there they hold also what is merged into them by `<<`.
        node = super().compose_mapping_node(anchor)
        _require_no_decimal_comma(node)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.tag == _BOOLEAN:
                problem = f"key {key.value!r:.80} is {say_boolean(key.value)} in YAML: quote it"
                raise _UnmeantError(problem=problem, problem_mark=key.start_mark)
            identity = (key.tag, key.value)
            if identity in lines:
                problem = f"key {key.value!r:.80} is there twice, first in line {lines[identity]}"
                raise _UnmeantError(problem=problem, problem_mark=key.start_mark)
            lines[identity] = key.start_mark.line + 1
        return node


def say_boolean(text: str) -> str:
    """Return which of `true` and `false` a word is in YAML 1.1, which knows yes and no, on and off, too."""
    return "true" if text.lower() in _TRUE_WORDS else "false"


def read_yaml(file: Path | Traversable, *, name: str) -> Any:
    """Return what a YAML file holds.

    Args:
        file: the file, in UTF-8.
        name: what errors call it.

    Raises:
        ConfigurationError: the file cannot be read, is not YAML, has a key twice, a word for true or false as a key, or
            a number with a decimal comma. One line, which names the place and quotes none of the values: they may be
            secrets.
    """
    return read_yaml_document(file, name=name).content


def read_yaml_document(file: Path | Traversable, *, name: str) -> YamlDocument:
    """Return what a YAML file holds, and where it stands; arguments and errors as in `read_yaml`."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot be read: {error.strerror}") from error
    return parse_yaml_document(content, name=name)


def parse_yaml_document(content: bytes, *, name: str) -> YamlDocument:
    """Return what the bytes of a YAML file say, and where it stands; errors as in `read_yaml`."""
    try:
        loader = _Loader(content.decode())
        try:
            root = loader.get_single_node()
            return YamlDocument(content=None if root is None else loader.construct_document(root), root=root)
        finally:
            loader.dispose()
    except _UnmeantError as error:
        raise ConfigurationError(f"{name}{_place(error)}: {error.problem}") from None
    except yaml.MarkedYAMLError as error:
        # Neither all of the message nor the cause: they quote the line.
        problem = error.problem if isinstance(error, ScannerError | ParserError) else type(error).__name__
        raise ConfigurationError(f"{name}{_place(error)}: not YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a value such as 2026-13-01 is a ValueError
        raise ConfigurationError(f"{name}: not YAML in UTF-8: {type(error).__name__}") from None


def _require_no_decimal_comma(node: yaml.MappingNode) -> None:
    """Refuse `{threshold: 0,5}`, which YAML reads as a threshold of 0 and a key 5 that has no value."""
    if not node.flow_style:
        return
    for (_, before), (key, value) in zip(node.value, node.value[1:], strict=False):
        is_number = isinstance(before, yaml.ScalarNode) and before.style is None and before.tag == _WHOLE_NUMBER
        is_alone = isinstance(value, yaml.ScalarNode) and value.start_mark.index == value.end_mark.index
        is_joined = key.start_mark.index == before.end_mark.index + 1
        if is_number and is_alone and is_joined and re.fullmatch("[0-9]+", str(key.value)):
            problem = "a number with a decimal comma: a decimal point is meant"
            raise _UnmeantError(problem=problem, problem_mark=before.start_mark)


def _child(node: yaml.Node, step: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    """Return where a value stands, which is its key's place if it has one, and the value."""
    if isinstance(node, yaml.MappingNode):
        found = [(key, value) for key, value in node.value if key.value == str(step)]
        # Of a key that is merged and one that is written, the last is the one in force.
        return found[-1] if found else None
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def _place(error: yaml.MarkedYAMLError) -> str:
    return "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
