"""The text that stands in a picture: found and recognised by the PP-OCR models that lie in rapidocr's wheel.

The library's three parts are used one by one and not its pipeline: that shrinks and pads by rules under which a narrow
picture grows to any size, tells upside-down lines by a model that errs on good ones, and puts pieces in no order.

Shapes: H x W x 3 pixels, red, green, blue; B boxes of one view.
"""

import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import rapidocr_onnxruntime  # type: ignore[import-untyped]  # ships no types
from rapidocr_onnxruntime.ch_ppocr_det import TextDetector  # type: ignore[import-untyped]
from rapidocr_onnxruntime.ch_ppocr_rec import TextRecognizer  # type: ignore[import-untyped]
from rapidocr_onnxruntime.utils import read_yaml, update_model_path  # type: ignore[import-untyped]
from rapidocr_onnxruntime.utils.infer_engine import ONNXRuntimeError  # type: ignore[import-untyped]

from protector_models.images.decoding import Pixels, UnreadImageError
from protector_models.images.legibility import FoundText, is_understood
from protector_models.images.text_finder import (
    DETAIL,
    OVERVIEW,
    SeenText,
    find_lost,
    find_text,
    merge_found,
    pass_over_tall,
)
from protector_models.images.text_lines import Box, Extent, order_for_reading
from protector_models.moderation.images import ImageFault
from protector_models.running.onnx_sessions import load_session

READING = (
    "views upscaled to 1280, border 24, tiles of 2048, at full size of 1280 where shrinking loses something, "
    "lines one by one, turned over below 0.9, understood from 0.85"
)
"""How views are read: a part of the reader's revision."""

_MIN_VIEW_SIDE = 1_280
"""Pixels that the longer side of a smaller view is enlarged to: with letters of 11 to 16 pixels, word spaces were lost
at 960 and found at 1,280 (docs/experiments.md)."""
_MAX_ENLARGEMENT = 3.0
_BORDER = 24
"""Pixels around a view: text that touches the edge is not found."""
_UPSIDE_DOWN_BELOW = 0.9
"""Confidence below which a piece is also tried the other way up; upright ones are nearly always above it."""
_VERTICAL = 1.5
"""Height to width from which on a piece is taken to be turned by a quarter: rapidocr's own."""
_MIN_TEXT_HEIGHT = 5
"""A view with a side of fewer pixels cannot hold a letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    found: FoundText
    extent: Extent
    quarter_turns: int
    """Counter-clockwise, that make the piece stand upright; `extent` is of the view so turned."""


class TextReader:
    """Reads views. Several threads may use one reader at once."""

    def __init__(self, detector: Any, recogniser: Any, *, min_confidence: float, max_pieces: int) -> None:
        """Put a reader together; `load` does."""
        self._detector = detector
        self._recogniser = recogniser
        self._min_confidence = min_confidence
        self._max_pieces = max_pieces

    @classmethod
    def load(cls, *, min_confidence: float, max_pieces: int) -> Self:
        """Loads both models; takes about a second.

        Args:
            min_confidence: what the recogniser must give a piece for it to count, in [0, 1].
            max_pieces: pieces of one view that are read; a view with more is not read at all.
        """
        config = update_model_path(read_yaml(Path(rapidocr_onnxruntime.__file__).with_name("config.yaml")))
        # Views have their size when they come here: the least side asked for is one that all have.
        detector = TextDetector({**config["Det"], "limit_type": "min", "limit_side_len": 32})
        # One line a run: those of a batch are padded to the longest, and what is read would depend on it.
        recogniser = TextRecognizer({**config["Rec"], "rec_batch_num": 1})
        # One thread inside a run, and none that spins: the library has no option for that.
        detector.infer.session = load_session(Path(config["Det"]["model_path"]), keeps_memory=False)
        recogniser.session.session = load_session(Path(config["Rec"]["model_path"]), keeps_memory=False)
        return cls(detector, recogniser, min_confidence=min_confidence, max_pieces=max_pieces)

    @staticmethod
    def model_files() -> list[Path]:
        """Returns the files that decide what is read."""
        directory = Path(rapidocr_onnxruntime.__file__).parent / "models"
        return sorted(file for file in directory.glob("*.onnx") if "_cls_" not in file.name)

    def read(self, view: Pixels, *, detail: Pixels | None = None, check_time: Callable[[], None]) -> list[str]:
        """Reads one view.

        Args:
            view: H x W x 3.
            detail: the same before it was shrunk: text is also looked for where shrinking has lost something.
            check_time: called between pieces; what it raises ends the work.

        Returns:
            Lines of text in reading order, without empty ones.

        Raises:
            UnreadImageError: there are too many pieces of text, much of it was not understood, or a model failed.
        """
        if min(view.shape[:2]) < _MIN_TEXT_HEIGHT:
            return []
        try:
            return self._read(view, detail, check_time)
        except (ONNXRuntimeError, cv2.error, MemoryError) as error:
            raise UnreadImageError(
                ImageFault.TEXT_NOT_READ, f"the text model failed: {type(error).__name__}"
            ) from error

    def _read(self, view: Pixels, detail: Pixels | None, check_time: Callable[[], None]) -> list[str]:
        prepared, seen = self._find(view, detail, check_time)
        if len(seen) > self._max_pieces:
            raise UnreadImageError(
                ImageFault.TEXT_NOT_READ, f"expected at most {self._max_pieces} pieces of text, got {len(seen)}"
            )
        pieces = list(self._read_pieces(prepared, seen, check_time))
        if not is_understood([piece.found for piece in pieces]):
            raise UnreadImageError(
                ImageFault.TEXT_NOT_UNDERSTOOD, "much of its text is none that the models know: Latin or Chinese"
            )
        by_turn: dict[int, list[_Piece]] = defaultdict(list)
        for piece in pieces:
            if piece.found.text and piece.found.confidence >= self._min_confidence:
                by_turn[piece.quarter_turns].append(piece)
        return [line for _, pieces in sorted(by_turn.items()) for line in _join_lines(pieces)]

    def _find(
        self, view: Pixels, detail: Pixels | None, check_time: Callable[[], None]
    ) -> tuple[Pixels, Sequence[SeenText]]:
        """Returns what to read from, and where on it there is text."""
        overview = _prepare(view)
        seen = find_text(self._detector, overview, OVERVIEW, wanted=None, check_time=check_time)
        if detail is None:
            return overview, seen
        full = _prepare(detail)
        scale = max(view.shape[:2]) / max(detail.shape[:2])
        enlarged = [replace(one, box=((one.box - _BORDER) / scale + _BORDER).astype(one.box.dtype)) for one in seen]
        lost = pass_over_tall(find_lost(_inside(full), _inside(overview)), enlarged, scale=scale)
        if not lost.any():
            return overview, seen
        # The border moves fields by less than one: it is put around them as well.
        wanted = np.pad(cv2.dilate(lost, np.ones((3, 3), dtype=np.uint8)), ((0, 3), (0, 3)))
        fine = find_text(self._detector, full, DETAIL, wanted=np.asarray(wanted, dtype=np.uint8), check_time=check_time)
        return full, merge_found(enlarged, fine, scale=scale)

    def _read_pieces(self, view: Pixels, seen: Sequence[SeenText], check_time: Callable[[], None]) -> Iterator[_Piece]:
        # Turned once, not for each box.
        lying = np.ascontiguousarray(np.rot90(view))
        for one in seen:
            check_time()
            box = one.box
            is_vertical = _side(box[0], box[3]) >= _VERTICAL * _side(box[0], box[1])
            turns = 1 if is_vertical else 0
            upright = _square(_turn(box, view)) if is_vertical else box.astype(np.float32)
            yield self._recognise(lying if is_vertical else view, upright, turns, certainty=one.certainty)

    def _recognise(self, view: Pixels, box: Box, quarter_turns: int, *, certainty: float) -> _Piece:
        cut = _cut_out(view, box)
        (text, confidence), *_ = self._recogniser([cut])[0]
        if confidence < _UPSIDE_DOWN_BELOW:
            (turned_text, turned_confidence), *_ = self._recogniser([np.ascontiguousarray(np.rot90(cut, 2))])[0]
            if turned_confidence > confidence:
                text, confidence, quarter_turns = turned_text, turned_confidence, quarter_turns + 2
                height, width = view.shape[:2]
                box = np.array([width, height], dtype=np.float32) - box
        found = FoundText(
            text=clean_text(text),
            confidence=float(confidence),
            certainty=certainty,
            length=cut.shape[1] / cut.shape[0],
        )
        return _Piece(found=found, extent=Extent.of(box), quarter_turns=quarter_turns)


def clean_text(text: str) -> str:
    """Returns plain text on one line: NFC, without control characters, white space as single spaces."""
    kept = (" " if mark.isspace() else mark for mark in text)
    plain = "".join(mark for mark in kept if unicodedata.category(mark)[0] != "C")
    return " ".join(unicodedata.normalize("NFC", plain).split())


def _join_lines(pieces: Sequence[_Piece]) -> list[str]:
    lines = order_for_reading([piece.extent for piece in pieces])
    return [" ".join(pieces[index].found.text for index in line) for line in lines]


def _prepare(view: Pixels) -> Pixels:
    """Returns a view enlarged if it is small, with blue before red as the models want it, and a border around."""
    height, width = view.shape[:2]
    scale = min(_MAX_ENLARGEMENT, _MIN_VIEW_SIDE / max(height, width))
    if scale > 1.0:
        view = cv2.resize(view, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)  # type: ignore[assignment]
    edge = np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]])
    ground = np.median(edge, axis=0).tolist()
    bordered = cv2.copyMakeBorder(view, _BORDER, _BORDER, _BORDER, _BORDER, cv2.BORDER_CONSTANT, value=ground)
    return np.ascontiguousarray(bordered[:, :, ::-1], dtype=np.uint8)


def _inside(prepared: Pixels) -> Pixels:
    return prepared[_BORDER:-_BORDER, _BORDER:-_BORDER]


def _side(start: Box, end: Box) -> float:
    return max(math.dist(start, end), 1.0)


def _turn(box: Box, view: Pixels) -> Box:
    """Returns a box of a view in the view turned by a quarter, counter-clockwise."""
    return np.stack([box[:, 1], view.shape[1] - box[:, 0]], axis=1).astype(np.float32)


def _square(box: Box) -> Box:
    """Returns the upright rectangle around a box, its corners in order."""
    (left, top), (right, bottom) = box.min(axis=0), box.max(axis=0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float32)


def _cut_out(view: Pixels, box: Box) -> Pixels:
    """Returns what stands in a box, made level."""
    width = round(max(_side(box[0], box[1]), _side(box[3], box[2])))
    height = round(max(_side(box[0], box[3]), _side(box[1], box[2])))
    level = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    transform = cv2.getPerspectiveTransform(box, level)
    cut = cv2.warpPerspective(view, transform, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, dtype=np.uint8)
