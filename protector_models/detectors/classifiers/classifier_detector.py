"""Any sequence classifier of transformers, with a LoRA adapter or without, as a harm detector.

A response that does not fit into one input is read in windows, and the most harmful window speaks for it. Inputs are
computed together up to a number of tokens; the device may round differently in batches of another shape, so only where
`tokens_per_run` is 1 (the default on a CPU) is a score the same to the last bit whatever its neighbours are.

Importing this module takes seconds.

Shapes: B inputs of a run, T tokens of the longest of them, L labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from protector_models.descriptions.checkpoint_description import CheckpointDescription, ClassificationHead
from protector_models.descriptions.templates import fill_template
from protector_models.detectors.classifiers.label_scores import LabelScores, Numbers
from protector_models.detectors.classifiers.loading import choose_max_tokens, load_classifier
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import Assessment, Coverage, ItemFailure
from protector_models.moderation.revisions import make_revision
from protector_models.reading.exchange_windows import ExchangeWindow
from protector_models.running.split_runs import TRANSFORMERS_ERRORS, run_or_split
from protector_models.settings import DetectorSettings, Device
from protector_models.transformer_models.control_tokens import break_up, find_control_tokens
from protector_models.transformer_models.exchange_encoding import (
    EXCHANGE_ENCODING,
    Encoded,
    ExchangeEncoder,
    plan_token_runs,
)

TOKENS_PER_RUN: dict[Device, int] = {"cpu": 1, "cuda": 16_384}
SCORE_DECIMALS = 4
"""Of every score that is reported."""

_NOT_FINITE = ItemFailure(error="NotFiniteScore", message="the model's output was not a finite number")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """One window of an exchange, on its way through the model."""

    exchange: int
    """Its exchange's place in the call."""
    encoded: Encoded


class ClassifierDetector:
    """Scores exchanges on the thread that calls it. Implements `SynchronousHarmDetector`.

    Nothing in a text can pass for a control token of the model: those get a space.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        encoder: ExchangeEncoder,
        scores: LabelScores,
        *,
        revision: str,
        tokens_per_run: int,
    ) -> None:
        """Put a detector together.

        Args:
            model: a transformers model, or a peft model around one, in evaluation mode on its device.
            tokenizer: the model's.
            encoder: makes inputs of exchanges.
            scores: reads the logits.
            revision: of the whole.
            tokens_per_run: tokens computed together, padding included.
        """
        self._model = model
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._scores = scores
        self._revision = revision
        self._tokens_per_run = tokens_per_run

    @classmethod
    def load(cls, settings: DetectorSettings, description: CheckpointDescription, *, num_threads: int) -> Self:
        """Load the classifier that settings of kind "transformers" name; may take minutes.

        Args:
            settings: model, adapter, device, type and budgets.
            description: of a classifier.
            num_threads: CPU threads of torch, in the whole process.

        Raises:
            ConfigurationError: it cannot be loaded, or does not fit its description.
        """
        head = description.head
        if not isinstance(head, ClassificationHead):
            raise ConfigurationError(f"detector.description: {description.name!r}: expected one of a classifier")
        if settings.template is not None:
            raise ConfigurationError("detector.template: expected none: a classifier's is in its description")
        loaded = load_classifier(settings)
        if settings.device == "cpu":
            torch.set_num_threads(num_threads)
        max_tokens = choose_max_tokens(settings, description, loaded)
        tokens_per_run = settings.tokens_per_run or TOKENS_PER_RUN[settings.device]
        encoder = ExchangeEncoder(
            loaded.tokenizer,
            input_maker(loaded.tokenizer, head),
            max_tokens=max_tokens,
            overlap=description.window.overlap,
            max_windows=settings.max_windows,
        )
        choices = {
            **settings.model_dump(include={"device", "dtype", "max_windows"}),
            "description": description.model_dump(mode="json", exclude={"about", "base", "threshold"}),
            "max_tokens": max_tokens,
            "tokens_per_run": tokens_per_run,
            # On a CPU the bits of a logit may depend on it.
            "num_threads": num_threads if settings.device == "cpu" else None,
            "reading": EXCHANGE_ENCODING,
            "files": loaded.digests,
        }
        return cls(
            loaded.model,
            loaded.tokenizer,
            encoder,
            LabelScores(head, loaded.labels),
            revision=make_revision(loaded.name, choices),
            tokens_per_run=tokens_per_run,
        )

    @property
    def revision(self) -> str:
        """The model's and the adapter's name, and a digest of their files and of how they are asked."""
        return self._revision

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange; may be called from several threads at once and may be repeated.

        Raises:
            ModelUnavailableError: the GPU failed or is out of memory.
        """
        encoded = [self._encoder.encode(exchange) for exchange in exchanges]
        inputs = [_Input(exchange=index, encoded=each) for index, found in enumerate(encoded) for each in found.inputs]
        outcomes: dict[int, Numbers | ItemFailure] = {}
        lengths = [len(each.encoded["input_ids"]) for each in inputs]
        for run in plan_token_runs(lengths, tokens_per_run=self._tokens_per_run):
            logits = run_or_split(
                [inputs[place] for place in run],
                self._compute,
                revision=self._revision,
                num_tokens=lengths[run[-1]],
                also=TRANSFORMERS_ERRORS,
            )
            outcomes |= dict(zip(run, logits, strict=True))
        by_exchange: list[list[Numbers | ItemFailure]] = [[] for _ in exchanges]
        for place, each in enumerate(inputs):
            by_exchange[each.exchange].append(outcomes[place])
        return [self._conclude(found.coverage, logits) for found, logits in zip(encoded, by_exchange, strict=True)]

    def _compute(self, run: Sequence[_Input]) -> list[Numbers]:
        """Return the logits [L] of each input of a run."""
        batch = self._tokenizer.pad([each.encoded for each in run], return_tensors="pt")
        with torch.inference_mode():
            logits_BL = self._model(**batch.to(self._model.device)).logits
        return list(logits_BL.double().cpu().numpy())

    def _conclude(self, coverage: Coverage, logits: Sequence[Numbers | ItemFailure]) -> Assessment | ItemFailure:
        """Make the assessment of an exchange from the logits of its windows; one that failed may be the harmful one."""
        finite: list[Numbers] = []
        for logits_L in logits:
            if isinstance(logits_L, ItemFailure):
                return logits_L
            if not np.isfinite(logits_L).all():
                return _NOT_FINITE
            finite.append(logits_L)
        harmfulness_B, categories = self._scores.read(np.stack(finite))
        return Assessment(
            harmfulness=round(float(harmfulness_B.max()), SCORE_DECIMALS),
            categories={name: round(float(scores_B.max()), SCORE_DECIMALS) for name, scores_B in categories.items()},
            detector=self._revision,
            truncated=coverage.characters_evaluated < coverage.characters_total,
            coverage=coverage,
        )


def input_maker(tokenizer: PreTrainedTokenizerBase, head: ClassificationHead) -> Callable[[str, str], Encoded]:
    """Return what makes the input of a question and a response, by the template or as a pair of texts."""
    control_tokens = find_control_tokens(tokenizer)

    def encode(question: str, response: str) -> Encoded:
        question, response = (break_up(text, control_tokens) for text in (question, response))
        if head.template is not None:
            window = ExchangeWindow(prompt=question, response=response)
            return _encode(fill_template(head.template, window))
        texts = [text for text in (question, response) if text] or [""]
        return _encode(*texts)

    def _encode(*texts: str) -> Encoded:
        found = tokenizer(*texts, verbose=False)
        return {name: list(found[name]) for name in tokenizer.model_input_names}

    return encode
