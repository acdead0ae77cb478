"""What the person who writes needs, read from a text alone; and whether an answer passes over what was said.

Both are logistic regressions over the vectors that the fast encoder gives anyway. A text is moreover read by its pieces
of words, which know slang and misspellings that the encoder has not met: both together find more than either alone.

The need of a text is that of its neediest piece, or of a window of it as a whole. Trained by `weir train needs`, on
texts written for it; bound to the encoder whose vectors it reads.

Shapes: S passages of one text, P = 3 H pooled units, B buckets of pieces of words, N needs.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from protector_models.checkpoints.cards import CARD_FILE, CheckpointCard, CheckpointError, WeightsCard
from protector_models.detectors.shipped.weights_in_use import MODEL_FILE
from protector_models.detectors.shipped.window_aggregation import Numbers, to_probability

NEEDS_FOLDER = "needs"
NEEDS_FILE = "needs.safetensors"
NEEDS = ("danger", "abuse", "grief", "eating_disorder")
"""What is told apart, in the order of the weights."""
DANGER, ABUSE, GRIEF, EATING_DISORDER = NEEDS
NUM_BUCKETS = 1 << 15

_PIECE_CHARACTERS = (2, 3, 4)
_RULE = "neediest passage"

Array = npt.NDArray[np.float32]


class NeedsCard(WeightsCard):
    """The card of a needs head."""

    encoder_sha256: str
    """Of the encoder's graph, whose vectors it reads."""

    def make_revision(self) -> str:
        """Return "name@revision"."""
        return self.make_revision_of({"rule": _RULE, "encoder": self.encoder_sha256})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeedsHead:
    """The weights."""

    pooled_weight_NP: Array
    bucket_weight_BN: Array
    bias_N: Array
    careless_weight_P: Array
    careless_bias_1: Array
    revision: str = ""
    """Its "name@revision"."""

    @classmethod
    def load(cls, directory: Path, fast: CheckpointCard) -> Self | None:
        """Read the head of a detector's weights directory; None where it has none.

        Args:
            directory: of the detector.
            fast: its card.

        Raises:
            CheckpointError: a file is missing or damaged, or it reads the vectors of another encoder.
        """
        folder = directory / NEEDS_FOLDER
        # A folder without a card is one where training has not come to its end.
        if not (folder / CARD_FILE).exists():
            return None
        card = NeedsCard.load(folder)
        if card.encoder_sha256 != fast.files.get(MODEL_FILE):
            raise CheckpointError(
                f"{folder}: expected a needs head for the encoder in {directory}, it is for another: "
                "run `weir train needs`"
            )
        return cls.read(folder / NEEDS_FILE, revision=card.make_revision())

    @classmethod
    def read(cls, file: Path, *, revision: str = "") -> Self:
        """Read the weights.

        Raises:
            CheckpointError: the file cannot be read, or does not hold these weights.
        """
        try:
            tensors = {name: tensor.astype(np.float32) for name, tensor in load_file(file).items()}
            head = cls(**tensors, revision=revision)
        except (OSError, SafetensorError, TypeError) as error:
            raise CheckpointError(f"{file}: no needs head: {type(error).__name__}") from error
        num_pooled = len(head.careless_weight_P)
        shapes = (head.pooled_weight_NP.shape, head.bucket_weight_BN.shape, head.bias_N.shape)
        expected = ((len(NEEDS), num_pooled), (NUM_BUCKETS, len(NEEDS)), (len(NEEDS),))
        if shapes != expected:
            raise CheckpointError(f"{file}: expected weights of shapes {expected}, got {shapes}")
        return head

    def save(self, file: Path) -> None:
        """Write the weights; those of pieces of words as half precision: a logit moves by less than 0.001."""
        file.write_bytes(
            save(
                {
                    "pooled_weight_NP": self.pooled_weight_NP,
                    "bucket_weight_BN": self.bucket_weight_BN.astype(np.float16),
                    "bias_N": self.bias_N,
                    "careless_weight_P": self.careless_weight_P,
                    "careless_bias_1": self.careless_bias_1,
                }
            )
        )

    def find_needs(self, passages: Sequence[str], pooled_SP: Array) -> dict[str, float]:
        """Return how surely a person has each need: the highest of any passage, in [0, 1].

        Args:
            passages: of what the person wrote, at least one, in normal form.
            pooled_SP: their pooled vectors.
        """
        words_SN = np.stack([self._weigh(passage) for passage in passages])
        logits_SN = pooled_SP.astype(np.float64) @ self.pooled_weight_NP.T.astype(np.float64) + words_SN + self.bias_N
        return dict(zip(NEEDS, map(float, to_probability(logits_SN.max(axis=0))), strict=True))

    def find_carelessness(self, pooled_SP: Array) -> float:
        """Return how surely an answer passes over a person in need, or makes light of it, in [0, 1].

        Beside anything else than somebody's need it says nothing.

        Args:
            pooled_SP: of the windows of the answer, each as a whole.
        """
        logits_S = pooled_SP.astype(np.float64) @ self.careless_weight_P.astype(np.float64)
        return float(to_probability(np.array([logits_S.mean() + float(self.careless_bias_1[0])]))[0])

    def _weigh(self, passage: str) -> Numbers:
        buckets = hash_pieces(passage)
        weighed: Numbers = self.bucket_weight_BN[buckets].sum(axis=0, dtype=np.float64) / np.sqrt(max(1, len(buckets)))
        return weighed


def hash_pieces(text: str) -> npt.NDArray[np.int64]:
    """Return the buckets of a text's pieces of words and pairs of words, each once, in rising order.

    A piece has two to four characters, the space before and behind its word among them.
    """
    words = text.lower().split()
    pieces = {f"{left}  {right}" for left, right in pairwise(words)}
    for word in {f" {word} " for word in words}:
        pieces.update(word[start : start + size] for size in _PIECE_CHARACTERS for start in range(len(word) - size + 1))
    return np.array(sorted({zlib.crc32(piece.encode()) % NUM_BUCKETS for piece in pieces}), dtype=np.int64)
