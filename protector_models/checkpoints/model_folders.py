"""The files of a language model and its adapter: where they are, that none of them can run code, and their digest."""

from pathlib import Path

import httpx
from huggingface_hub import snapshot_download

from protector_models.checkpoints.cards import hash_file
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.revisions import hash_choices

_LOADED_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt")
"""Weights, configuration, chat template, vocabulary. Pickles (.bin, .pt) and modules (.py) are not among them."""
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def locate_model(name: str, *, section: str) -> Path:
    """Return the folder of a model: the one that is named, else the snapshot of the hub's repository of that name.

    Args:
        name: a path or a name on the hub.
        section: of the configuration, for the message.

    Raises:
        ConfigurationError: there is neither, or it has no weights as safetensors.
    """
    directory = _locate(name, key=f"{section}.model")
    if not any(directory.glob("*.safetensors")):
        raise ConfigurationError(
            f"{section}.model: {name!r}: expected weights as .safetensors; other formats can run code"
        )
    return directory


def locate_adapter(name: str, *, section: str) -> Path:
    """Return the folder of a LoRA adapter, as `locate_model` does.

    Raises:
        ConfigurationError: there is neither, or it is no adapter with weights as safetensors.
    """
    directory = _locate(name, key=f"{section}.adapter")
    if missing := [file for file in ADAPTER_FILES if not (directory / file).is_file()]:
        raise ConfigurationError(
            f"{section}.adapter: {name!r}: no {', '.join(missing)}; expected {' and '.join(ADAPTER_FILES)}"
        )
    return directory


def hash_folder(directory: Path) -> str:
    """Return 12 hexadecimal digits of the names and contents of all files of a folder that are loaded.

    Reads every weight once: some seconds for each ten gigabytes.
    """
    return hash_choices({file.name: hash_file(file) for file in directory.iterdir() if file.suffix in _LOADED_SUFFIXES})


def _locate(name: str, *, key: str) -> Path:
    if (directory := Path(name)).is_dir():
        return directory
    try:
        patterns = [f"*{suffix}" for suffix in _LOADED_SUFFIXES]
        return Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"]))
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise ConfigurationError(
            f"{key}: {name!r}: no such folder, and the hub gave none ({type(error).__name__})"
        ) from error
