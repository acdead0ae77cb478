"""A list of images that are known to be bad: compared by the hash of their bytes, and by what they look like."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.revisions import hash_text

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PERCEPTUAL = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownImages:
    """Entries by hash. P perceptual hashes."""

    names_by_sha256: Mapping[str, str]
    perceptual_P: npt.NDArray[np.uint64]
    names_P: tuple[str, ...]
    max_distance: int
    """Bits in which a perceptual hash may differ."""
    digest: str
    """12 hexadecimal digits of the list."""

    @classmethod
    def load(cls, file: Path, *, max_distance: int) -> Self:
        """Reads a list: a hash a line, a name behind it if wanted; lines that begin with # and empty ones say nothing.

        Args:
            file: in UTF-8. A hash has 64 hexadecimal digits (SHA-256 of the bytes) or 16 (perceptual).
            max_distance: bits in which a perceptual hash may differ, 0 to 64.

        Raises:
            ConfigurationError: the file cannot be read, or a line is no entry; names file and line.
        """
        try:
            content = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"images.known.file: {file}: cannot be read: {error}") from error
        exact: dict[str, str] = {}
        alike: dict[str, str] = {}
        for number, line in enumerate(content.splitlines(), start=1):
            entry, _, name = line.strip().partition(" ")
            if not entry or entry.startswith("#"):
                continue
            entries = _choose_kind(entry.lower(), exact, alike)
            if entries is None:
                raise ConfigurationError(
                    f"images.known.file: {file}, line {number}: expected 64 or 16 hexadecimal digits and a name, "
                    f"got {entry!r:.80}"
                )
            entries.setdefault(entry.lower(), name.strip() or entry.lower())
        return cls(
            names_by_sha256=exact,
            perceptual_P=np.array([int(entry, 16) for entry in alike], dtype=np.uint64),
            names_P=tuple(alike.values()),
            max_distance=max_distance,
            digest=hash_text(content),
        )

    def find(self, sha256: str, perceptual_hashes: Sequence[str]) -> str | None:
        """Returns the name of the entry that an image equals, else of the first one that a view of it is nearest to.

        Args:
            sha256: of the image's bytes.
            perceptual_hashes: of its views, 16 hexadecimal digits each.

        Returns:
            None where no entry is as near as the greatest distance.
        """
        if sha256 in self.names_by_sha256:
            return self.names_by_sha256[sha256]
        if not self.names_P or not perceptual_hashes:
            return None
        views_V = np.array([int(found, 16) for found in perceptual_hashes], dtype=np.uint64)
        distances_P = np.bitwise_count(self.perceptual_P[:, None] ^ views_V[None, :]).min(axis=1)
        nearest = int(distances_P.argmin())
        return self.names_P[nearest] if distances_P[nearest] <= self.max_distance else None


def _choose_kind(entry: str, exact: dict[str, str], alike: dict[str, str]) -> dict[str, str] | None:
    if _SHA256.fullmatch(entry):
        return exact
    return alike if _PERCEPTUAL.fullmatch(entry) else None
