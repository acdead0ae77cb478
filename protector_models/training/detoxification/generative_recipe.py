"""The recipe of the generative detoxifier: a LoRA adapter that has a language model rewrite harmful answers.

The choices are those of MLLM-Protector (arXiv 2401.02906, the detoxifier of its published code, there on Vicuna-7B):
rank 128, alpha 32, dropout 0.1 on queries and values, learning rate 2e-5, 4 epochs, at most 512 tokens, cross-entropy
on the target alone. Other than there, the answer is asked for by the prompt that serving builds, and pairs of a safe
answer with itself teach the model to leave safe answers alone.

Shapes: B examples, T tokens, V words of the vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from protector_models.moderation.batch_cuts import split_by_count
from protector_models.training.adapter_training import AdapterObjective, AdapterRecipe, PartLoss
from protector_models.training.detoxification.generative_batches import NO_LABEL, AnswerBatch, EncodedAnswer, collate


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerativeRecipe(AdapterRecipe):
    """Every choice of a run."""

    rank: int = 128
    warmup_share: float = 0.03
    identity_share: float = 0.2
    """Of safe answers that stay as they are, among all examples."""
    validation_percent: int = 5


def make_objective(*, is_causal: bool, pad_id: int) -> AdapterObjective[EncodedAnswer]:
    """Returns the mean cross-entropy of a target's token, examples by their weight.

    Args:
        is_causal: whether the model is a decoder alone, and not a sequence-to-sequence model.
        pad_id: what shorter examples are filled up with.
    """

    def measure(model: Any, examples: Sequence[EncodedAnswer]) -> PartLoss:
        batch = collate(examples, is_causal=is_causal, pad_id=pad_id)
        return PartLoss(total=weighted_loss(model, batch, is_causal=is_causal), num_tokens=batch.ids_BT.numel())

    return AdapterObjective(measure=measure, weigh=lambda example: example.weight * len(example.target_ids))


def weighted_loss(model: Any, batch: AnswerBatch, *, is_causal: bool) -> Tensor:
    """Returns the cross-entropy of the targets' tokens, each times its example's weight, summed."""
    device = next(model.parameters()).device
    labels_BT = batch.labels_BT.to(device)
    fields = {"input_ids": batch.ids_BT.to(device), "attention_mask": batch.mask_BT.to(device)}
    if is_causal:
        # A causal model's logits at one place are about the next.
        logits_BTV, labels_BT = model(**fields).logits[:, :-1], labels_BT[:, 1:]
    else:
        logits_BTV = model(**fields, labels=labels_BT).logits
    losses_BT = functional.cross_entropy(
        logits_BTV.float().transpose(1, 2), labels_BT, ignore_index=NO_LABEL, reduction="none"
    )
    return (losses_BT.sum(dim=1) * batch.weights_B.to(device)).sum()


def measure_loss(
    model: Any,
    examples: Sequence[EncodedAnswer],
    *,
    is_causal: bool,
    pad_id: int,
    micro_batch_size: int,
    report_examples: Callable[[int], None],
) -> float | None:
    """Returns the mean cross-entropy of a target's token over some examples, unweighted; None where there are none."""
    if not examples:
        return None
    model.eval()
    total = 0.0
    by_length = sorted(examples, key=lambda example: len(example.prompt_ids))
    for batch in _collate_parts(by_length, micro_batch_size, is_causal=is_causal, pad_id=pad_id):
        with torch.inference_mode():
            batch.weights_B.fill_(1.0)
            total += weighted_loss(model, batch, is_causal=is_causal).item()
        report_examples(len(batch.weights_B))
    return total / sum(len(example.target_ids) for example in examples)


def _collate_parts(
    examples: Sequence[EncodedAnswer], size: int, *, is_causal: bool, pad_id: int
) -> Iterator[AnswerBatch]:
    for part in split_by_count(examples, size):
        yield collate(part, is_causal=is_causal, pad_id=pad_id)
