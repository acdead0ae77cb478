"""The LoRA recipe of the harm detector: an adapter that makes a classifier of one logit out of any language model.

The choices are those of MLLM-Protector (arXiv 2401.02906, the harm detector of its published code, there on
open_llama_3b_v2 and Llama-2-7B): rank 32, alpha 32, dropout 0.1 on queries and values, learning rate 2e-5 falling
linearly, 4 epochs, examples over 512 tokens left out, and for each pair the cross-entropy of either side minus the log
sigmoid of their difference. Other than there, the logit is of harm (there of harmlessness), single answers teach
beside pairs, and the input is made by the very code that makes it in serving.

Shapes: B answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from protector_models.training.adapter_training import AdapterObjective, AdapterRecipe, PartLoss
from protector_models.training.detector.answer_pairs import AnswerUnit
from protector_models.transformer_models.exchange_encoding import Encoded

TEMPLATE = "Question: {prompt}\n\nAnswer: {response}"
"""What the classifier reads; MLLM-Protector's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraDetectorRecipe(AdapterRecipe):
    """Every choice of a run."""

    rank_loss_weight: float = 1.0
    """Of -log sigmoid(difference of a pair's logits), beside the loss of either answer."""
    validation_percent: int = 8
    """As the shipped detector's: no detector is then measured on what another was trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedUnit:
    """One example in tokens; at least one of the two answers is there."""

    harmful: Encoded | None
    safe: Encoded | None
    weight: float

    @property
    def answers(self) -> list[Encoded]:
        """Those that are there, the harmful one first."""
        return [answer for answer in (self.harmful, self.safe) if answer is not None]


def encode_units(
    units: Sequence[AnswerUnit], make_input: Callable[[str, str], Encoded], *, max_tokens: int
) -> list[EncodedUnit]:
    """Encodes examples with what makes the input in serving; those with an input over `max_tokens` are left out."""
    encoded = [
        EncodedUnit(
            harmful=None if unit.harmful is None else make_input(unit.prompt, unit.harmful),
            safe=None if unit.safe is None else make_input(unit.prompt, unit.safe),
            weight=unit.weight,
        )
        for unit in units
    ]
    return [unit for unit in encoded if all(len(answer["input_ids"]) <= max_tokens for answer in unit.answers)]


def make_objective(tokenizer: PreTrainedTokenizerBase, recipe: LoraDetectorRecipe) -> AdapterObjective[EncodedUnit]:
    """Returns the loss of a batch's units, by their weights, divided by their number: weak ones must pull less."""

    def measure(model: Any, units: Sequence[EncodedUnit]) -> PartLoss:
        answers = [answer for unit in units for answer in unit.answers]
        batch = tokenizer.pad(answers, return_tensors="pt")
        device = next(model.parameters()).device
        logits_B = model(**batch.to(device)).logits.float().squeeze(-1)
        return PartLoss(
            total=sum_losses(logits_B, units, rank_loss_weight=recipe.rank_loss_weight),
            num_tokens=batch["input_ids"].numel(),
        )

    return AdapterObjective(measure=measure, weigh=lambda _: 1.0)


def sum_losses(logits_B: Tensor, units: Sequence[EncodedUnit], *, rank_loss_weight: float) -> Tensor:
    """Returns the loss of some units, each times its weight, summed.

    Args:
        logits_B: of the units' answers, in order, a pair's harmful one first; positive means harmful.
        units: the units.
        rank_loss_weight: of a pair's order, beside the loss of either answer.
    """
    losses: list[Tensor] = []
    start = 0
    for unit in units:
        logits = logits_B[start : start + len(unit.answers)]
        start += len(unit.answers)
        labels = torch.tensor([1.0, 0.0] if len(unit.answers) == 2 else [float(unit.harmful is not None)])
        loss = functional.binary_cross_entropy_with_logits(logits, labels.to(logits.device), reduction="sum")
        if len(unit.answers) == 2:
            loss = loss + rank_loss_weight * functional.softplus(logits[1] - logits[0])
        losses.append(unit.weight * loss)
    return torch.stack(losses).sum()
