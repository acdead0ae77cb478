"""Which rows a run was trained on: how many, and a digest of all of them in order."""

import hashlib
import json
from collections.abc import Sequence

from protector_models.training.detector.answer_draws import PiecedExample


def describe_rows(rows: Sequence[PiecedExample], name: str = "rows") -> dict[str, str | int]:
    """Returns the number of rows and the SHA-256 of their sets, labels, weights and texts, for a card.

    Equal digests mean equal rows in equal order; texts are counted, not the ids of records, which stay when a text is
    changed.

    Args:
        rows: of a run.
        name: what the rows are called in the card.
    """
    digest = hashlib.sha256()
    for row in rows:
        example = row.example
        identity = (
            example.kind,
            example.source_set,
            example.harmful,
            example.weight,
            example.categories,
            example.harmful_part,
            row.prompt,
            row.pieces,
        )
        digest.update(json.dumps(identity).encode() + b"\n")
    return {f"num_{name}": len(rows), f"{name}_sha256": digest.hexdigest()}
