"""A classifier as anybody would run it: what the speed of the configured one, of the same weights, is measured against.

Batches padded to their longest text, texts cut at what the model has positions for. Texts are not put into the
description's template, not split into windows, and what is cut off is not reported.

Importing this module takes seconds.
"""

from collections.abc import Sequence
from typing import Self

import torch

from protector_models.detectors.classifiers.loading import LoadedClassifier, load_classifier
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.settings import DetectorSettings

_MAX_TOKENS = 512


class PlainClassifier:
    """Scores texts in batches on the device of its settings."""

    def __init__(self, loaded: LoadedClassifier, *, batch_size: int) -> None:
        self._loaded = loaded
        self._batch_size = batch_size

    @classmethod
    def load(cls, settings: DetectorSettings, *, num_threads: int, batch_size: int) -> Self:
        """Loads the classifier that settings of kind "transformers" name.

        Args:
            settings: model, adapter, device and type.
            num_threads: CPU threads of torch, in the whole process.
            batch_size: texts of one run.

        Raises:
            ConfigurationError: it cannot be loaded.
        """
        torch.set_num_threads(num_threads)
        return cls(load_classifier(settings), batch_size=batch_size)

    def score(self, texts: Sequence[str]) -> list[float]:
        """Returns the model's first logit for each text, in order."""
        logits: list[float] = []
        for batch in split_by_count(texts, self._batch_size):
            encoding = self._loaded.tokenizer(
                list(batch),
                padding=True,
                truncation=True,
                max_length=min(_MAX_TOKENS, self._loaded.max_positions or _MAX_TOKENS),
                return_tensors="pt",
            ).to(self._loaded.model.device)
            with torch.inference_mode():
                logits += self._loaded.model(**encoding).logits[:, 0].float().tolist()
        return logits
