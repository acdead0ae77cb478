"""A sparse linear model over the words of a window: a detector that runs no encoder, and the row that one has to beat.

A window is turned into the set of its words (tokens) and neighbouring pairs of words, each hashed into one of N
buckets; words of the prompt and of the response fall into different buckets. Every feature of a window weighs
1/sqrt(number of its features), so a long window speaks no louder than a short one.

It knows nothing but words and costs some 20 microseconds a window.

Shapes: T tokens of one window, F features of one window, N buckets, K logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from protector_models.checkpoints.cards import CheckpointError
from protector_models.detectors.shipped.window_layout import TokenPair

BAG_OF_WORDS_FILE = "bag_of_words.safetensors"
NUM_BUCKETS = 1 << 17

# Odd constants without structure: what keeps a word of the prompt, a word and a pair of words apart. Part of the model:
# another constant needs other weights.
_WORD_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_PROMPT_WORD = np.uint64(0x51ED270B0A1F39C1)
_RESPONSE_WORD = np.uint64(0x2545F4914F6CDD1D)
_RESPONSE_PAIR = np.uint64(0x94D049BB133111EB)
_FOLD_BITS = np.uint64(40)

Features = npt.NDArray[np.int64]


def hash_features(window: TokenPair) -> Features:
    """Returns the buckets [F] of a window's features, each once, in rising order; none where it has no words."""
    ids_T = np.array(window.input_ids, dtype=np.uint64)
    num_prompt_side = len(window.segment_ids) - sum(window.segment_ids)
    # The layout's own tokens are the same in every window: start, separator, and the separator at the end.
    prompt, response = ids_T[1 : num_prompt_side - 1], ids_T[num_prompt_side:-1]
    pairs = (response[:-1] * _WORD_FACTOR) ^ response[1:]
    keys = np.concatenate([_mix(prompt, _PROMPT_WORD), _mix(response, _RESPONSE_WORD), _mix(pairs, _RESPONSE_PAIR)])
    return np.unique(keys % np.uint64(NUM_BUCKETS)).astype(np.int64)


def _mix(values: npt.NDArray[np.uint64], kind: np.uint64) -> npt.NDArray[np.uint64]:
    # Products wrap around at 64 bits, which is what mixes; the high bits, which depend on all others, are taken.
    mixed: npt.NDArray[np.uint64] = ((values + np.uint64(1)) * kind * _WORD_FACTOR) >> _FOLD_BITS
    return mixed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BagOfWords:
    """The model's weights."""

    weights_NK: npt.NDArray[np.float32]
    biases_K: npt.NDArray[np.float32]

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads the weights.

        Raises:
            CheckpointError: the file cannot be read, or does not hold these weights.
        """
        try:
            tensors = load_file(file)
            weights_NK, biases_K = tensors["weights_NK"], tensors["biases_K"]
        except (OSError, SafetensorError, KeyError) as error:
            raise CheckpointError(f"{file}: no bag of words: {type(error).__name__}") from error
        if weights_NK.shape != (NUM_BUCKETS, len(biases_K)):
            raise CheckpointError(f"{file}: weights of shape {weights_NK.shape}, not ({NUM_BUCKETS}, {len(biases_K)})")
        return cls(weights_NK=weights_NK.astype(np.float32), biases_K=biases_K.astype(np.float32))

    def save(self, file: Path) -> None:
        """Writes the weights, as half precision: a logit moves by less than 0.001."""
        file.write_bytes(save({"weights_NK": self.weights_NK.astype(np.float16), "biases_K": self.biases_K}))

    def score(self, windows: Sequence[TokenPair]) -> list[npt.NDArray[np.float32]]:
        """Returns logits [K] per window, in order; a window's are the same bits whatever it is scored with."""
        return [self._score(window) for window in windows]

    def _score(self, window: TokenPair) -> npt.NDArray[np.float32]:
        features = hash_features(window)
        if len(features) == 0:
            return self.biases_K
        sums_K = self.weights_NK[features].sum(axis=0, dtype=np.float64) / np.sqrt(len(features))
        logits_K: npt.NDArray[np.float32] = (sums_K + self.biases_K).astype(np.float32)
        return logits_K
