"""What the detector's speed is measured against: the same network as anybody would run it, transformers on torch.

The same weights in fp32, the tokenizer of transformers, batches padded to their longest text, texts cut at the model's
512 tokens. Texts are not normalised, not split into windows, and what is cut off is not reported.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import torch
from transformers import BatchEncoding, PreTrainedTokenizerFast

from protector_models.detectors.graph_weights import read_graph_weights
from protector_models.detectors.harm_detector import MODEL_FILE, TOKENIZER_FILE
from protector_models.detectors.torch_window_scorer import EncoderModule

_MAX_TOKENS = 512


class PlainEncoder:
    """Scores texts in batches on the CPU."""

    def __init__(self, module: EncoderModule, tokenizer: PreTrainedTokenizerFast, *, batch_size: int) -> None:
        self._module = module
        self._tokenizer = tokenizer
        self._batch_size = batch_size

    @classmethod
    def load(cls, directory: Path, *, num_threads: int, batch_size: int) -> Self:
        """Loads a weights directory.

        Args:
            directory: holds model.onnx and tokenizer.json.
            num_threads: CPU threads of torch, in the whole process.
            batch_size: texts of one run.

        Raises:
            CheckpointError: the file is no graph that `weir train detector` wrote.
        """
        torch.set_num_threads(num_threads)
        tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # its constructor has no types
            tokenizer_file=str(directory / TOKENIZER_FILE),
            pad_token="[PAD]",  # noqa: S106
            model_max_length=_MAX_TOKENS,
        )
        return cls(
            EncoderModule.from_weights(read_graph_weights(directory / MODEL_FILE)), tokenizer, batch_size=batch_size
        )

    def score(self, texts: Sequence[str]) -> list[float]:
        """Returns the network's first output for each text, in order: its logit as an answer, without the prompt.

        It is no score: the detector takes another output for a text that stands alone, and mixes it with the bag of
        words. The whole network is run either way.
        """
        return [logit for batch in self._batches(texts) for logit in self._run(batch)]

    def _batches(self, texts: Sequence[str]) -> Iterator[BatchEncoding]:
        for start in range(0, len(texts), self._batch_size):
            batch = list(texts[start : start + self._batch_size])
            # As the second of a pair whose first is empty: the prompt layout of an answer alone.
            yield self._tokenizer(
                [""] * len(batch), batch, padding=True, truncation=True, return_token_type_ids=True, return_tensors="pt"
            )

    def _run(self, batch: BatchEncoding) -> list[float]:
        with torch.inference_mode():
            logits_BK = self._module(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        logits: list[float] = logits_BK[:, 0].tolist()
        return logits
