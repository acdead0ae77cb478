"""The shipped encoder as anybody would run it, transformers on torch: what the detector's speed is measured against.

The same weights in fp32, the tokenizer of transformers, batches padded to their longest text, texts cut at the model's
512 tokens. Texts are not normalised, not split into windows or pieces, and what is cut off is not reported.

Shapes: B texts, T tokens, H hidden units.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import torch
from transformers import BatchEncoding, PreTrainedTokenizerFast

from protector_models.detectors.shipped.detector_heads import HEADS_FILE, Array, DetectorHeads
from protector_models.detectors.shipped.graph_weights import read_graph_weights
from protector_models.detectors.shipped.torch_window_scorer import EncoderModule
from protector_models.detectors.shipped.weights_in_use import MODEL_FILE, TOKENIZER_FILE
from protector_models.detectors.shipped.window_layout import TokenPair
from protector_models.moderation.batch_cuts import split_by_count

_MAX_TOKENS = 512


class PlainShippedEncoder:
    """Scores texts in batches on the CPU."""

    def __init__(
        self, module: EncoderModule, heads: DetectorHeads, tokenizer: PreTrainedTokenizerFast, *, batch_size: int
    ) -> None:
        self._module = module
        self._heads = heads
        self._tokenizer = tokenizer
        self._batch_size = batch_size

    @classmethod
    def load(cls, directory: Path, *, num_threads: int, batch_size: int) -> Self:
        """Loads a weights directory.

        Args:
            directory: holds model.onnx, heads.safetensors and tokenizer.json.
            num_threads: CPU threads of torch, in the whole process.
            batch_size: texts of one run.

        Raises:
            CheckpointError: the files are none that `weir train detector` wrote.
        """
        torch.set_num_threads(num_threads)
        tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # its constructor has no types
            tokenizer_file=str(directory / TOKENIZER_FILE),
            pad_token="[PAD]",  # noqa: S106
            model_max_length=_MAX_TOKENS,
        )
        module = EncoderModule.from_weights(read_graph_weights(directory / MODEL_FILE))
        return cls(module, DetectorHeads.load(directory / HEADS_FILE), tokenizer, batch_size=batch_size)

    def score(self, texts: Sequence[str]) -> list[float]:
        """Returns the network's first output for each text as one piece, in order: its logit as an answer.

        It is no score: the detector takes another output for a text that stands alone, and judges piece by piece. The
        whole encoder is run either way; the heads cost microseconds.
        """
        return [logit for batch in self._batches(texts) for logit in self._run(batch)]

    def _batches(self, texts: Sequence[str]) -> Iterator[BatchEncoding]:
        for batch in split_by_count(texts, self._batch_size):
            # As the second of a pair whose first is empty: the prompt layout of an answer alone.
            yield self._tokenizer(
                [""] * len(batch),
                list(batch),
                padding=True,
                truncation=True,
                return_token_type_ids=True,
                return_tensors="pt",
            )

    def _run(self, batch: BatchEncoding) -> list[float]:
        lengths = batch["attention_mask"].sum(1).tolist()
        with torch.inference_mode():
            hidden_BTH = self._module(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]).numpy()
        return [
            self._judge(hidden_TH[:length], segments[:length])
            for hidden_TH, segments, length in zip(hidden_BTH, batch["token_type_ids"].tolist(), lengths, strict=True)
        ]

    def _judge(self, hidden_TH: Array, segments: list[int]) -> float:
        text = (len(segments) - sum(segments), len(segments))
        window = TokenPair(input_ids=[0] * len(segments), segment_ids=segments, pieces=(text,))
        return float(self._heads.score(hidden_TH, window).pieces_SK[0, 0])
