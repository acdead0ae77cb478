"""A folder with a tiny checkpoint of every family, and beside each the configuration that runs it.

Importing this module takes seconds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from transformers.utils import logging as transformers_logging

from protector_models.tiny_checkpoints import classifiers, guards, mllms

CONFIG_FILE = "weir.yaml"

Configuration = dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyFamily:
    """A family of checkpoints, and how to write a tiny one."""

    sort: str
    """What it is for: "classifiers", "guards", "cascades" or "mllms"."""
    name: str
    write: Callable[[Path], Path]
    """Writes its files into a folder; may be called twice."""
    configure: Callable[[Path], Configuration]
    """Returns the configuration that runs what was written into a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFamily:
    """What was written."""

    sort: str
    name: str
    config: Path
    """The configuration's file, beside the checkpoint."""


def list_families() -> list[TinyFamily]:
    """Return every family that there is a tiny checkpoint of."""
    return [
        *(
            TinyFamily(sort="classifiers", name=name, write=write, configure=_classifier(name))
            for name, write in classifiers.FAMILIES.items()
        ),
        *(
            TinyFamily(sort="guards", name=name, write=write, configure=_guard(name))
            for name, write in guards.FAMILIES.items()
        ),
        TinyFamily(sort="cascades", name="bag-of-words-bert", write=classifiers.write_bert, configure=_cascade),
        *(
            TinyFamily(sort="mllms", name=name, write=write, configure=mllms.configuration)
            for name, write in mllms.FAMILIES.items()
        ),
    ]


def write_family(family: TinyFamily, root: Path) -> WrittenFamily:
    """Write the checkpoint of a family and its configuration into a folder of their own.

    What an earlier call wrote is written over. Paths in the configuration are relative to its file, so that the folder
    can be moved.

    Args:
        family: which.
        root: above the folders of all families.

    Raises:
        OSError: it cannot be written.
    """
    directory = root / family.sort / family.name
    directory.mkdir(parents=True, exist_ok=True)
    family.write(directory)
    content = _relative(family.configure(directory), directory)
    config = directory / CONFIG_FILE
    config.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return WrittenFamily(sort=family.sort, name=family.name, config=config)


def write_quietly(families: Iterable[TinyFamily], root: Path) -> Iterator[WrittenFamily]:
    """Write families one by one; what transformers says about progress is left out.

    On one thread: models so small gain nothing from more, and on a busy machine threads would wait for each other.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for family in families:
            yield write_family(family, root)
    finally:
        torch.set_num_threads(num_threads)


def _classifier(name: str) -> Callable[[Path], Configuration]:
    return lambda directory: {"detector": classifiers.configure_classifier(name, directory)}


def _guard(name: str) -> Callable[[Path], Configuration]:
    return lambda directory: {"detector": guards.configure_guard(name, directory)}


def _cascade(directory: Path) -> Configuration:
    band = {"first": {"kind": "bag_of_words"}, "second": classifiers.configure_classifier("bert", directory)}
    return {"detector": {"kind": "cascade", "cascade": {**band, "band": [0.1, 0.9]}}}


def _relative(content: Mapping[str, object], directory: Path) -> dict[str, object]:
    """Return a configuration whose paths into a folder are relative to it, as in ./adapter."""

    def resolve(value: object) -> object:
        if isinstance(value, dict):
            return {key: resolve(inner) for key, inner in value.items()}
        if isinstance(value, str) and Path(value).is_relative_to(directory):
            inner = Path(value).relative_to(directory)
            return "./" if inner == Path() else f"./{inner}"
        return value

    return {key: resolve(value) for key, value in content.items()}
