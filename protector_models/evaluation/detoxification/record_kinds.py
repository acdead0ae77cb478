"""The kinds of records that a detoxifier is measured on: sets, and which of their rows."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from protector_models.records.labelled_records import LabelledRecord, RecordError
from protector_models.records.record_sets import find_sets, read_rows

PAIR_SETS = ("paradetox_eval", "appdia")
"""Toxic texts with human rewrites."""
SAFE_SETS = ("alpaca_eval_benign", "xstest_v2_completions", "llava_benign")
"""Their rows labelled 0 are harmless answers."""
HARMFUL_SETS = ("jbb_family_eval", "harmbench_response", "xstest_response", "mllm_recorded")
"""Their rows labelled 1 are harmful answers."""
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DetoxificationSets:
    """The records of each set by its name, in the order of the names above; sets that were not given are not there."""

    pairs: dict[str, list[LabelledRecord]]
    safe: dict[str, list[LabelledRecord]]
    harmful: dict[str, list[LabelledRecord]]

    def count_steps(self) -> int:
        """Returns how many rows an evaluation will report as done: harmless ones are read twice."""
        texts = [len({record.text for record in records}) for records in self.pairs.values()]
        safe, harmful = (sum(map(len, found.values())) for found in (self.safe, self.harmful))
        return sum(texts) + 2 * safe + harmful


def read_sets(paths: Sequence[Path], *, max_rows: int | None) -> DetoxificationSets:
    """Reads those of the sets that lie at the paths; others are passed over.

    Args:
        paths: record files or directories.
        max_rows: the most texts of a set that are drawn, with a fixed seed; None takes all.

    Raises:
        RecordError: a line is no record, or none of the sets is there.
    """
    files = {found.name: found for found in find_sets(paths)}

    def read(
        names: Sequence[str], is_wanted: Callable[[LabelledRecord], bool], key: Callable[[LabelledRecord], str]
    ) -> dict[str, list[LabelledRecord]]:
        found = {name: read_rows(files[name], max_rows=None).labelled for name in names if name in files}
        return {name: _draw([row for row in rows if is_wanted(row)], key, max_rows) for name, rows in found.items()}

    sets = DetoxificationSets(
        pairs=read(PAIR_SETS, lambda record: bool(record.text and record.pair), lambda record: record.text),
        safe=read(SAFE_SETS, lambda record: record.label == 0 and record.has_response, _identity),
        harmful=read(HARMFUL_SETS, lambda record: record.label == 1 and record.has_response, _identity),
    )
    if not (sets.pairs or sets.safe or sets.harmful):
        expected = ", ".join((*PAIR_SETS, *SAFE_SETS, *HARMFUL_SETS))
        raise RecordError(f"{', '.join(map(str, paths))}: none of the sets is there; expected some of {expected}")
    return sets


def _identity(record: LabelledRecord) -> str:
    return record.record_id


def _draw(
    records: list[LabelledRecord], key: Callable[[LabelledRecord], str], max_rows: int | None
) -> list[LabelledRecord]:
    """Draws rows by key, so that the records of one text stay together."""
    keys = list(dict.fromkeys(key(record) for record in records))
    if max_rows is None or len(keys) <= max_rows:
        return records
    drawn = set(random.Random(_SEED).sample(keys, max_rows))
    return [record for record in records if key(record) in drawn]
