"""Texts that say the same with other words here and there.

Two texts are near-duplicates if at least 70% of their pieces of five characters are common to both (Jaccard), case,
white space and punctuation aside. Texts that may be are found by MinHash: 32 bands of 4 values.

Shapes: P pieces of one text, H = 128 hash functions.
"""

import re
import zlib
from collections import defaultdict

import numpy as np
import numpy.typing as npt

NEAR_DUPLICATE_FROM = 0.7
"""Jaccard of the pieces, in [0, 1]."""
_PIECE_CHARACTERS = 5
_NUM_BANDS = 32
_NUM_HASHES = 4 * _NUM_BANDS
_NOT_WORDS = re.compile(r"[\W_]+")


class NearDuplicates:
    """Remembers texts, and says of each new one whether it was there before. Not for many threads."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._multipliers_H = rng.integers(0, 1 << 63, _NUM_HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._offsets_H = rng.integers(0, 1 << 63, _NUM_HASHES, dtype=np.uint64)
        self._pieces: list[frozenset[int]] = []
        self._by_band: dict[tuple[int, bytes], list[int]] = defaultdict(list)

    def add(self, text: str) -> bool:
        """Remembers a text, unless one like it is known. Returns whether it is new; a text without words is not."""
        pieces = _cut(text)
        if not pieces:
            return False
        bands = self._cut_into_bands(pieces)
        if self._is_known(pieces, bands):
            return False
        for band in bands:
            self._by_band[band].append(len(self._pieces))
        self._pieces.append(pieces)
        return True

    def has_like(self, text: str) -> bool:
        """Returns whether one like a text is known, and remembers nothing."""
        pieces = _cut(text)
        return bool(pieces) and self._is_known(pieces, self._cut_into_bands(pieces))

    def _is_known(self, pieces: frozenset[int], bands: list[tuple[int, bytes]]) -> bool:
        candidates = {place for band in bands for place in self._by_band.get(band, ())}
        return any(_jaccard(pieces, self._pieces[place]) >= NEAR_DUPLICATE_FROM for place in candidates)

    def _cut_into_bands(self, pieces: frozenset[int]) -> list[tuple[int, bytes]]:
        values_P: npt.NDArray[np.uint64] = np.fromiter(pieces, dtype=np.uint64, count=len(pieces))
        # Modulo 2^64 by overflow, and the high half, which every bit of the value has a part in.
        hashed_HP = (self._multipliers_H[:, None] * values_P[None, :] + self._offsets_H[:, None]) >> np.uint64(32)
        lowest_H = hashed_HP.min(axis=1)
        return [(number, band.tobytes()) for number, band in enumerate(np.split(lowest_H, _NUM_BANDS))]


def _cut(text: str) -> frozenset[int]:
    """Returns 32-bit hashes of the text's pieces; a shorter text is one piece."""
    normalised = _NOT_WORDS.sub(" ", text.casefold()).strip()
    if not normalised:
        return frozenset()
    ends = range(_PIECE_CHARACTERS, max(len(normalised), _PIECE_CHARACTERS) + 1)
    # What has no UTF-8 form (a lone surrogate) still is a character.
    return frozenset(
        zlib.crc32(normalised[end - _PIECE_CHARACTERS : end].encode("utf-8", "surrogatepass")) for end in ends
    )


def _jaccard(left: frozenset[int], right: frozenset[int]) -> float:
    common = len(left & right)
    return common / (len(left) + len(right) - common)
