"""A judge of texts that knows nothing but pieces of words: TF-IDF of characters and a logistic regression.

It shares neither architecture nor tokens with the detector and the edit model, so a text that pleases it does not do so
by their faults. Trained by `protector_models.training.judges.character_recipe`.

Shapes: F features (pieces of 2 to 5 characters within words), W windows of one text.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]  # ships no types
from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]  # ships no types

from protector_models.checkpoints.cards import CheckpointError

PIECE_CHARACTERS = (2, 5)
"""The shortest and the longest piece."""
WINDOW_CHARACTERS = 800
"""A longer text is read in windows of so many characters; its worst window speaks for it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CharacterJudge:
    """The trained judge; scores are in [0, 1] and 1 is what it looks for (toxic, harmful)."""

    pieces: tuple[str, ...]
    """The F features."""
    inverse_frequencies_F: npt.NDArray[np.float32]
    """IDF of each feature."""
    weights_F: npt.NDArray[np.float32]
    bias: float

    @classmethod
    def load(cls, directory: Path, name: str) -> Self:
        """Reads NAME.json and NAME.safetensors.

        Raises:
            CheckpointError: a file cannot be read, or they do not fit together.
        """
        place = directory / name
        try:
            pieces = tuple(json.loads(place.with_suffix(".json").read_text(encoding="utf-8")))
            tensors = load_file(place.with_suffix(".safetensors"))
            judge = cls(
                pieces=pieces,
                inverse_frequencies_F=tensors["inverse_frequencies_F"].astype(np.float32),
                weights_F=tensors["weights_F"].astype(np.float32),
                bias=float(tensors["bias"][0]),
            )
        except (OSError, ValueError, SafetensorError, KeyError) as error:
            raise CheckpointError(f"{place}: no character judge: {type(error).__name__}") from error
        if not len(pieces) == len(judge.weights_F) == len(judge.inverse_frequencies_F):
            raise CheckpointError(f"{place}: {len(pieces)} pieces with {len(judge.weights_F)} weights")
        return judge

    def save(self, directory: Path, name: str) -> list[Path]:
        """Writes NAME.json and NAME.safetensors, the numbers in half precision, and returns both paths."""
        place = directory / name
        files = [place.with_suffix(".json"), place.with_suffix(".safetensors")]
        files[0].write_text(json.dumps(self.pieces, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
        tensors: dict[str, npt.NDArray[np.generic]] = {
            "inverse_frequencies_F": self.inverse_frequencies_F.astype(np.float16),
            "weights_F": self.weights_F.astype(np.float16),
            "bias": np.array([self.bias], dtype=np.float32),
        }
        files[1].write_bytes(save(tensors))
        return files

    def score(self, texts: Sequence[str]) -> list[float]:
        """Scores each text, in order; an empty one too."""
        vectorizer = make_vectorizer(self.pieces)
        vectorizer.idf_ = self.inverse_frequencies_F.astype(np.float64)
        windows = [cut_windows(text) for text in texts]
        flat = [window for of_text in windows for window in of_text]
        if not flat:
            return []
        features_WF: csr_matrix = vectorizer.transform(flat)
        logits_W = features_WF @ self.weights_F.astype(np.float64) + self.bias
        ends = np.cumsum([len(of_text) for of_text in windows])[:-1]
        return [float(1.0 / (1.0 + np.exp(-logits.max()))) for logits in np.split(logits_W, ends)]


def make_vectorizer(pieces: Sequence[str] | None, **options: float) -> TfidfVectorizer:
    """Makes what turns texts into features; `pieces` None: they are to be found by fitting."""
    return TfidfVectorizer(
        analyzer="char_wb",
        ngram_range=PIECE_CHARACTERS,
        sublinear_tf=True,
        vocabulary=pieces,
        dtype=np.float64,
        **options,
    )


def cut_windows(text: str) -> list[str]:
    """Cuts a text into windows, of which the last may be shorter; at least one."""
    return [text[start : start + WINDOW_CHARACTERS] for start in range(0, max(len(text), 1), WINDOW_CHARACTERS)]
