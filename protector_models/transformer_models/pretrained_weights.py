"""Loading models of transformers: in silence, and without a weight that nobody trained.

Importing this module takes seconds.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from protector_models.moderation.errors import ConfigurationError


def load_pretrained(auto: Any, directory: Path, *, config: Any, dtype: torch.dtype) -> tuple[Any, set[str]]:
    """Load a model from the safetensors of a folder onto the CPU. Code of a repository is never run.

    Args:
        auto: the class of transformers that loads it.
        directory: the folder.
        config: the model's.
        dtype: of its weights.

    Returns:
        The model, and the names of its weights that are not in the files: transformers fills them with random numbers.

    Raises:
        Exception: whatever transformers raises.
    """
    with quietly():
        model, found = auto.from_pretrained(
            directory,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    return model, {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}


def require_all_weights(directory: Path, missing: Collection[str]) -> None:
    """Refuse a model of which some weights were not in its files.

    Raises:
        ConfigurationError: some were not; the message names the first few.
    """
    if missing:
        names = ", ".join(sorted(missing)[:3]) + (" ..." if len(missing) > 3 else "")
        raise ConfigurationError(
            f"{directory}: its files lack {len(missing)} of the model's weights ({names}); expected all: random "
            "numbers would stand in for them"
        )


@contextmanager
def quietly() -> Iterator[None]:
    """Keep progress bars and reports of transformers off standard error: what matters in them is an error here."""
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(ERROR)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # the same
