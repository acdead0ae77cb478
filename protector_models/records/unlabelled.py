"""Rows of the training sets that nobody labelled: a teacher's scores are all that can be learned of them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from protector_models.records.examples import (
    Example,
    check_may_train_on,
    is_excluded,
    is_held_out,
    read_training_set,
    to_examples,
)
from protector_models.records.mix import SOURCES, RowKind, SourcePlan


def load_unlabelled(
    directory: Path, *, validation_percent: int, sources: Mapping[str, SourcePlan] = SOURCES
) -> list[Example]:
    """Reads the answers and texts without a label, both answers of preferences among them, in the order of the files.

    Args:
        directory: holds one directory per set, named as in `sources`.
        validation_percent: share of prompts held out, as `load_examples` holds them out.
        sources: the mix.

    Returns:
        Examples whose `harmful` is None; of a preference, only the order of the two answers is known.

    Raises:
        RecordError: evaluation data, a missing set, or a line that is no record.
    """
    check_may_train_on(directory)
    examples = [
        replace(example, harmful=None)
        for name, plan in sources.items()
        for record in read_training_set(directory, name)
        for example in to_examples(record, name, plan)
        if example.harmful is None or example.kind is RowKind.PREFERENCE
    ]
    return [
        example
        for example in examples
        if not is_excluded(example) and not is_held_out(example.prompt or example.response, percent=validation_percent)
    ]
