"""All kinds of behaviour tests: those that are written as rows, and those that are composed of pieces."""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path
from types import ModuleType

from protector_models.evaluation.behaviours.behaviour_file import read_behaviour_files
from protector_models.evaluation.behaviours.behaviour_row import HALVES, BehaviourKind, BehaviourRow, Half
from protector_models.evaluation.behaviours.composed import alone, dilution, disguises, frames, long_answers, structures
from protector_models.evaluation.behaviours.composed.material import load_material
from protector_models.moderation.errors import ConfigurationError
from protector_models.records.labelled_records import RecordError

_ROWS = resources.files("protector_models.evaluation.behaviours").joinpath("rows")
_COMPOSED: tuple[ModuleType, ...] = (alone, frames, dilution, structures, disguises, long_answers)
"""Modules with a KIND, a line ABOUT it, and `compose`."""


def load_written_kinds(directory: Path | None = None) -> list[BehaviourKind]:
    """Return the kinds that a directory of behaviour files holds, by name; without one, those that come with Weir.

    Raises:
        RecordError: there are none, or one of them cannot be used.
    """
    files = read_behaviour_files(_ROWS if directory is None else directory)
    if directory is not None and not files:
        raise RecordError(f"{directory}: expected behaviour files KIND.yaml, got none")
    return [BehaviourKind(name=file.kind, about=file.about, rows=file.expand()) for file in files]


@cache
def compose_kinds() -> tuple[BehaviourKind, ...]:
    """Return the kinds that are made of pieces; the same rows in every run.

    Raises:
        RecordError: a file of pieces is broken.
    """
    halves = [load_material(half) for half in HALVES]
    return tuple(
        BehaviourKind(
            name=module.KIND,
            about=module.ABOUT,
            rows=list(chain.from_iterable(module.compose(material) for material in halves)),
        )
        for module in _COMPOSED
    )


def load_kinds(
    *, directory: Path | None = None, half: Half | None = None, names: Sequence[str] = ()
) -> list[BehaviourKind]:
    """Return the kinds that are to be measured.

    Args:
        directory: behaviour files that are measured instead of all that comes with Weir.
        half: the rows of this half alone; None: all.
        names: these kinds alone, with the rows that they are compared with; empty: all.

    Raises:
        RecordError: a file cannot be used.
        ConfigurationError: there is no kind of that name.
    """
    kinds = load_written_kinds(directory) if directory else [*load_written_kinds(), *compose_kinds()]
    known = {kind.name for kind in kinds}
    if unknown := sorted(set(names) - known):
        raise ConfigurationError(f"--kind: expected some of {', '.join(sorted(known))}, got {unknown[0]!r}")
    kept = [kind.of_half(half) for kind in kinds if not names or kind.name in names]
    compared = {row.alone for kind in kept for row in kind.rows if row.alone}
    present = {row.row_id for kind in kept for row in kind.rows}
    if compared <= present:
        return kept
    return [*(kind.of_half(half) for kind in kinds if kind.name == alone.KIND), *kept]


def all_rows(kinds: Sequence[BehaviourKind]) -> list[BehaviourRow]:
    """Return the rows of all kinds, in order."""
    return [row for kind in kinds for row in kind.rows]
