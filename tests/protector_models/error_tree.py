"""All errors of Weir, found by reading the source of every module."""

import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pipelines
import protector_models
import services
from protector_models.moderation.errors import WeirError

_CLASS = re.compile(r"^ *class (?P<name>\w+)\((?P<bases>[^)]*)\):", re.MULTILINE)
_LAST_NAME = re.compile(r"\w+(?= *(?:,|$))")


@cache
def all_errors() -> tuple[type[WeirError], ...]:
    """Return every class of the tree that Weir's packages define, the root first.

    Only modules that define one are imported: all of them together would bring torch, which takes ten seconds.
    """
    bases = {cls: names for package in (protector_models, services, pipelines) for cls, names in _read_bases(package)}
    names = {"WeirError"}
    while more := {name for (_, name), above in bases.items() if above & names} - names:
        names |= more
    for module in sorted({module for module, name in bases if name in names}):
        importlib.import_module(module)
    return imported_errors()


def imported_errors() -> tuple[type[WeirError], ...]:
    """Return every class of the tree that modules imported until now define, the root first."""
    found: list[type[WeirError]] = [WeirError]
    for kind in found:
        found += [below for below in kind.__subclasses__() if below not in found and _is_ours(below)]
    return tuple(found)


def _read_bases(package: object) -> Iterator[tuple[tuple[str, str], set[str]]]:
    """Yield the module and the name of each class below a package, with the last names of its bases."""
    (folder,) = package.__path__  # type: ignore[attr-defined]  # a module that is a package has it
    for path in sorted(Path(folder).rglob("*.py")):
        module = ".".join(path.relative_to(Path(folder).parent).with_suffix("").parts).removesuffix(".__init__")
        for match in _CLASS.finditer(path.read_text()):
            yield (module, match["name"]), set(_LAST_NAME.findall(match["bases"]))


def _is_ours(kind: type[WeirError]) -> bool:
    return kind.__module__.partition(".")[0] in {"pipelines", "services", "protector_models"}
