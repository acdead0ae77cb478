"""Where text stands in a picture: in all of it at once, and at its full size wherever shrinking it loses something.

Shapes: H x W x 3 pixels, blue, green, red.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import cv2
import numpy as np

from protector_models.images.decoding import Pixels
from protector_models.images.text_lines import Box, Extent

STRIDE = 32
"""Sides of what the model that finds text takes are multiples of it."""
_LOST = 16
"""Difference of a pixel, of 255, from which on shrinking has lost something of it: noise of cameras is below it."""
_LOST_SHARE = 0.02
"""Share of a field of `STRIDE` pixels a side that is lost, from which on a tile around it is searched."""
_TALL = 20
"""Pixels of a line in a shrunk picture from which on it is as well read there; found at full size it may be torn."""
_COVERED = 0.5
"""Share of a box that others cover, from which on it is the same text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenText:
    """A place where there is text."""

    box: Box
    certainty: float
    """That there is, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSize:
    """How much is searched at once."""

    side: int
    """Pixels; a multiple of `STRIDE`."""
    margin: int
    """Pixels at both ends of a tile that are seen and not kept: what a model finds near the end of a picture depends on
    what is not there. A multiple of `STRIDE`."""


OVERVIEW = TileSize(side=2_048, margin=256)
DETAIL = TileSize(side=1_280, margin=128)


def find_text(
    detector: Any, view: Pixels, size: TileSize, *, wanted: Pixels | None, check_time: Callable[[], None]
) -> list[SeenText]:
    """Finds the pieces of text in a view.

    A large one is searched in tiles. What they say of each pixel is put together before any piece is made of it, so
    that a line at a seam is one piece, however long it is.

    Args:
        detector: rapidocr's.
        view: H x W x 3.
        size: of the tiles.
        wanted: one value for each field of `STRIDE` pixels a side; tiles without any that is true are passed over. None
            searches them all.
        check_time: called before each tile.
    """
    height, width = view.shape[:2]
    is_tiled = max(height, width) > size.side
    whole = np.pad(view, ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="edge") if is_tiled else view
    found: np.ndarray | None = None
    for rows, columns in product(_tiles(whole.shape[0], size), _tiles(whole.shape[1], size)):
        if wanted is not None and not wanted[_fields(rows), _fields(columns)].any():
            continue
        check_time()
        tile = np.ascontiguousarray(whole[rows.seen, columns.seen])
        seen = detector.infer(detector.get_preprocess(max(tile.shape))(tile))[0]
        if not is_tiled:
            found = seen
            break
        if found is None:
            found = np.zeros((*seen.shape[:2], *whole.shape[:2]), dtype=seen.dtype)
        found[:, :, rows.kept, columns.kept] = seen[:, :, rows.kept_of_seen, columns.kept_of_seen]
    if found is None:
        return []
    boxes, certainties = detector.postprocess_op(found, whole.shape[:2])
    return [
        SeenText(box=kept_box, certainty=float(certainty))
        for box, certainty in zip(boxes, certainties, strict=True)
        for kept_box in detector.filter_tag_det_res(box[None], (height, width))
    ]


def find_lost(detail: Pixels, overview: Pixels) -> Pixels:
    """Returns for each field of `STRIDE` pixels a side whether something of it is lost in a smaller view of it all.

    Args:
        detail: H x W x 3.
        overview: h x w x 3, of the same picture.
    """
    height, width = detail.shape[:2]
    enlarged = cv2.resize(overview, (width, height), interpolation=cv2.INTER_LINEAR)
    lost = (cv2.absdiff(detail, np.asarray(enlarged, dtype=np.uint8)).max(axis=2) >= _LOST).astype(np.float32)
    lost = np.pad(lost, ((0, -height % STRIDE), (0, -width % STRIDE)))
    shares = lost.reshape(lost.shape[0] // STRIDE, STRIDE, lost.shape[1] // STRIDE, STRIDE).mean(axis=(1, 3))
    return np.asarray(shares >= _LOST_SHARE, dtype=np.uint8)


def pass_over_tall(lost: Pixels, overview: Sequence[SeenText], *, scale: float) -> Pixels:
    """Returns what is lost but for the edges of large letters, which the shrunk view has shown well enough.

    Args:
        lost: as from `find_lost`.
        overview: what was found in the shrunk view, in pixels of the full size.
        scale: of the shrunk view, in (0, 1].
    """
    left = lost.copy()
    for seen in overview:
        if _is_tall(seen, scale):
            corners = np.round(seen.box / STRIDE).astype(np.int32)
            cv2.fillConvexPoly(left, corners, 0)
            cv2.polylines(left, [corners], isClosed=True, color=0, thickness=3)  # strokes reach beyond their box
    return left


def merge_found(overview: Sequence[SeenText], detail: Sequence[SeenText], *, scale: float) -> list[SeenText]:
    """Returns what was found in a shrunk view and at full size, each text once.

    Args:
        overview: in pixels of the full size.
        detail: the same.
        scale: of the shrunk view, in (0, 1].
    """
    tall = [seen for seen in overview if _is_tall(seen, scale)]
    low = [seen for seen in overview if not _is_tall(seen, scale)]
    fine = [seen for seen in detail if not _is_covered(seen, tall)]
    return [*tall, *fine, *(seen for seen in low if not _is_covered(seen, fine))]


def _is_tall(seen: SeenText, scale: float) -> bool:
    box = seen.box
    return float(min(np.linalg.norm(box[0] - box[3]), np.linalg.norm(box[0] - box[1]))) * scale >= _TALL


def _is_covered(seen: SeenText, others: Sequence[SeenText]) -> bool:
    mine = Extent.of(seen.box)
    area = max((mine.right - mine.left) * (mine.bottom - mine.top), 1.0)
    return sum(_common_area(mine, Extent.of(other.box)) for other in others) >= _COVERED * area


def _common_area(one: Extent, other: Extent) -> float:
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    return max(width, 0.0) * max(height, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """One side of a tile."""

    kept: slice
    seen: slice

    @property
    def kept_of_seen(self) -> slice:
        return slice(self.kept.start - self.seen.start, self.kept.stop - self.seen.start)


def _fields(stretch: _Stretch) -> slice:
    return slice(stretch.kept.start // STRIDE, -(-stretch.kept.stop // STRIDE))


def _tiles(length: int, size: TileSize) -> Iterator[_Stretch]:
    """Yields for each tile of a side what is kept of it and what is seen."""
    if length <= size.side:
        yield _Stretch(kept=slice(0, length), seen=slice(0, length))
        return
    step = size.side - 2 * size.margin
    for start in range(0, length, step):
        end = min(length, start + step)
        seen = slice(max(0, start - size.margin), min(length, end + size.margin))
        yield _Stretch(kept=slice(start, end), seen=seen)
