"""What a benchmark of several parts has measured so far: it is told although a later part fails."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.bench.report import Comparison, compare


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is measured against what; see `Comparison`."""

    benchmark: str
    against_what: str
    unit: str


@dataclass(slots=True)
class _Pairs:
    values: list[float] = field(default_factory=list)
    against: list[float] = field(default_factory=list)


class Measurements:
    """Pairs that were measured in turn, for each of some rows."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        """Begin with no pair.

        Args:
            rows: by name, in the order in which they are reported.
        """
        self._rows = rows
        self._pairs = {name: _Pairs() for name in rows}

    def add(self, name: str, value: float, *, against: float) -> None:
        """Add a pair to the row of that name."""
        self._pairs[name].values.append(value)
        self._pairs[name].against.append(against)

    def comparisons(self) -> dict[str, Comparison]:
        """Return the rows that have a pair, by name."""
        return {
            name: compare(
                row.benchmark,
                against_what=row.against_what,
                values=self._pairs[name].values,
                against=self._pairs[name].against,
                unit=row.unit,
            )
            for name, row in self._rows.items()
            if self._pairs[name].values
        }
