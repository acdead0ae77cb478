"""Images in files under folders that are configured."""

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

from protector_models.images.fetch_error import ImageFetchError
from protector_models.images.fetch_slots import FetchSlots
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.images import ImageFault

# Not to be stopped by a FIFO that nobody writes to; not to follow a link that came after the check.
_FILE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileImages:
    """Fetches file:// references."""

    def __init__(self, *, roots: Sequence[Path], slots: FetchSlots, max_bytes: int) -> None:
        """Put it together.

        Args:
            roots: folders that files are read from, resolved.
            slots: how many files are read at the same time.
            max_bytes: the largest image.
        """
        self._roots = tuple(roots)
        self._slots = slots
        self._max_bytes = max_bytes

    @classmethod
    def open(cls, roots: Sequence[Path], *, slots: FetchSlots, max_bytes: int) -> "FileImages":
        """Find the folders; nothing is read.

        Raises:
            ConfigurationError: one of them is no folder.
        """
        for root in roots:
            if not root.is_dir():
                raise ConfigurationError(f"images.fetch.roots: expected folders, got {str(root)!r}")
        return cls(roots=[root.resolve() for root in roots], slots=slots, max_bytes=max_bytes)

    async def fetch(self, reference: str) -> bytes:
        """Return the file that a reference such as file:///data/images/cat.png names.

        Raises:
            ImageFetchError: it could not be had, and why.
        """
        path = _parse(reference)
        async with self._slots.turn("file:"):
            return await asyncio.to_thread(self._read, path)

    def _read(self, path: Path) -> bytes:
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: links that lead back to themselves
            raise _failed(error) from error
        root = next((root for root in self._roots if resolved != root and resolved.is_relative_to(root)), None)
        if root is None:
            raise ImageFetchError(ImageFault.REFERENCE_NOT_ALLOWED, "file: not under a configured folder")
        try:
            descriptor = _open_beneath(root, resolved.relative_to(root).parts)
        except OSError as error:
            raise _failed(error) from error
        try:
            return self._read_open(descriptor)
        finally:
            os.close(descriptor)

    def _read_open(self, descriptor: int) -> bytes:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ImageFetchError(ImageFault.REFERENCE_NOT_ALLOWED, "file: expected a file, not a folder or a device")
        data = bytearray()
        try:
            # To the end and one byte further, whatever size it was said to have: it may grow meanwhile.
            while len(data) <= self._max_bytes and (chunk := os.read(descriptor, self._max_bytes + 1 - len(data))):
                data += chunk
        except OSError as error:
            raise _failed(error) from error
        if len(data) > self._max_bytes:
            raise ImageFetchError(ImageFault.TOO_MANY_BYTES, f"file: more than {self._max_bytes} bytes")
        return bytes(data)


def _open_beneath(root: Path, parts: Sequence[str]) -> int:
    """Open a file, folder by folder and through no link: one that is put there after the check leads nowhere."""
    folder = os.open(root, _FOLDER_FLAGS)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _FILE_FLAGS, dir_fd=folder)
    finally:
        os.close(folder)


def _parse(reference: str) -> Path:
    host, slash, path = reference[len("file://") :].partition("/")
    is_file_url = reference[: len("file://")].lower() == "file://" and slash and host.lower() in {"", "localhost"}
    if not is_file_url or "?" in path or "#" in path:
        raise ImageFetchError(ImageFault.INVALID_REFERENCE, "expected a reference such as file:///data/images/cat.png")
    decoded = unquote_to_bytes(path)
    if b"\0" in decoded:
        raise ImageFetchError(ImageFault.INVALID_REFERENCE, "file: expected a path without a zero byte")
    return Path("/" + os.fsdecode(decoded))


def _failed(error: OSError | RuntimeError) -> ImageFetchError:
    """Say what went wrong without the path, which would show what there is."""
    reason = error.strerror if isinstance(error, OSError) else "links that lead in a circle"
    return ImageFetchError(ImageFault.FETCH_FAILED, f"file: {reason}")
