"""The recipe of the generative detoxifier: a LoRA adapter that has a language model rewrite harmful answers.

The choices are those of MLLM-Protector (arXiv 2401.02906, the detoxifier of its published code, there on Vicuna-7B):
rank 128, alpha 32, dropout 0.1 on queries and values, learning rate 2e-5, 4 epochs, at most 512 tokens, cross-entropy
on the target alone. Other than there, the answer is asked for by the prompt that serving builds, and pairs of a safe
answer with itself teach the model to leave safe answers alone.

Shapes: B examples, T tokens, S tokens of the longest target, P places of which the logits are computed, V words of the
vocabulary.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from protector_models.moderation.batch_cuts import split_by_count
from protector_models.training.adapter_training import AdapterObjective, AdapterRecipe, PartLoss
from protector_models.training.detoxification.generative_batches import NO_LABEL, AnswerBatch, EncodedAnswer, collate
from protector_models.training.detoxification.rewritten_answers import ALL_SETS
from protector_models.transformer_models.base_models import BaseModel

_KEEPS_LOGITS = "logits_to_keep"
"""How transformers calls the places of which a causal model computes logits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerativeRecipe(AdapterRecipe):
    """Every choice of a run."""

    rank: int = 128
    warmup_share: float = 0.03
    identity_share: float = 0.2
    """Of safe answers that stay as they are, among all examples."""
    pair_sets: str = ALL_SETS
    """Sets of pairs to learn from: "all", or names joined by commas."""
    refusal_share: float = 1.0
    """Of targets that open as a refusal does, among all pairs, at most."""
    max_target_tokens: int = 512
    """Of one target; examples with a longer one are left out."""
    validation_percent: int = 5
    max_held_out: int = 1_000
    """Held-out examples whose loss is measured; of more, some are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelForm:
    """What a base model takes."""

    is_causal: bool
    """Whether it is a decoder alone, and not a sequence-to-sequence model."""
    pad_id: int
    """What shorter examples are filled up with."""
    keeps_logits: bool
    """Whether it can be told of which places to compute logits. With a vocabulary of a quarter of a million, those of
    the prompt, which nobody needs, cost more memory and time than all layers together."""

    @classmethod
    def of(cls, base: BaseModel) -> "ModelForm":
        """Returns that of a base model, before an adapter is around it."""
        tokenizer = base.tokenizer
        # Masked out wherever it stands, so that the end will do where there is none.
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        assert isinstance(padding, int)
        is_causal = not base.model.config.is_encoder_decoder
        takes = inspect.signature(base.model.forward).parameters
        return cls(is_causal=is_causal, pad_id=padding, keeps_logits=is_causal and _KEEPS_LOGITS in takes)


def make_objective(form: ModelForm) -> AdapterObjective[EncodedAnswer]:
    """Returns the mean cross-entropy of a target's token, examples by their weight."""

    def measure(model: Any, examples: Sequence[EncodedAnswer]) -> PartLoss:
        batch = collate(examples, is_causal=form.is_causal, pad_id=form.pad_id)
        return PartLoss(total=weighted_loss(model, batch, form), num_tokens=batch.ids_BT.numel())

    return AdapterObjective(measure=measure, weigh=lambda example: example.weight * len(example.target_ids))


def weighted_loss(model: Any, batch: AnswerBatch, form: ModelForm) -> Tensor:
    """Returns the cross-entropy of the targets' tokens, each times its example's weight, summed."""
    device = next(model.parameters()).device
    labels_BS = batch.labels_BT.to(device)
    fields: dict[str, Any] = {"input_ids": batch.ids_BT.to(device), "attention_mask": batch.mask_BT.to(device)}
    if form.is_causal:
        # A causal model's logits at one place are about the next.
        places_P = (labels_BS[:, 1:] != NO_LABEL).any(dim=0).nonzero().squeeze(dim=1)
        labels_BS = labels_BS[:, places_P + 1]
        if form.keeps_logits:
            logits_BSV = model(**fields, logits_to_keep=places_P).logits
        else:
            logits_BSV = model(**fields).logits[:, places_P]
    else:
        logits_BSV = model(**fields, labels=labels_BS).logits
    losses_N = functional.cross_entropy(
        logits_BSV.flatten(0, 1).float(), labels_BS.flatten(), ignore_index=NO_LABEL, reduction="none"
    )
    return (losses_N.view(labels_BS.shape).sum(dim=1) * batch.weights_B.to(device)).sum()


def measure_loss(
    model: Any,
    examples: Sequence[EncodedAnswer],
    form: ModelForm,
    *,
    micro_batch_size: int,
    report_examples: Callable[[int], None],
) -> float | None:
    """Returns the mean cross-entropy of a target's token over some examples, unweighted; None where there are none."""
    if not examples:
        return None
    model.eval()
    total = 0.0
    by_length = sorted(examples, key=lambda example: len(example.prompt_ids))
    for batch in _collate_parts(by_length, micro_batch_size, form):
        with torch.inference_mode():
            batch.weights_B.fill_(1.0)
            total += weighted_loss(model, batch, form).item()
        report_examples(len(batch.weights_B))
    return total / sum(len(example.target_ids) for example in examples)


def _collate_parts(examples: Sequence[EncodedAnswer], size: int, form: ModelForm) -> Iterator[AnswerBatch]:
    for part in split_by_count(examples, size):
        yield collate(part, is_causal=form.is_causal, pad_id=form.pad_id)
