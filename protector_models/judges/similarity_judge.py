"""A judge of meaning: how near two texts are, the cosine of their vectors from the untouched all-MiniLM-L6-v2.

Shapes: N texts, H hidden units.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import BertModel

from protector_models.judges.base_texts import (
    average_tokens,
    encode,
    encode_hidden,
    load_base_network,
    load_base_tokenizer,
    run_by_length,
)


class SimilarityJudge:
    """Compares texts; blocks."""

    def __init__(self, network: BertModel, tokenizer: Tokenizer) -> None:
        self._network = network.eval()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, encoder_directory: Path) -> Self:
        """Loads the encoder from its directory in Hugging Face form."""
        return cls(load_base_network(encoder_directory), load_base_tokenizer(encoder_directory))

    def compare(self, left: Sequence[str], right: Sequence[str]) -> list[float]:
        """Returns the similarity of each pair, in order, in [0, 1]: negative cosines count as 0."""
        if not left:
            return []
        vectors = run_by_length([*left, *right], self._embed)
        similarities_N = (vectors[: len(left)] * vectors[len(left) :]).sum(-1).clamp(0.0, 1.0)
        return [float(value) for value in similarities_N]

    def _embed(self, texts: Sequence[str]) -> Tensor:
        with torch.inference_mode():
            ids_NT, mask_NT = encode(self._tokenizer, texts)
            return functional.normalize(average_tokens(encode_hidden(self._network, ids_NT, mask_NT), mask_NT), dim=-1)
