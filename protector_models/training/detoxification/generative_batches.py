"""From rewritten answers to tensors for a language model.

Shapes: B examples, T tokens of the longest, S tokens of the longest target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from protector_models.detoxification.rewrite_prompts import encode_prompt
from protector_models.training.detoxification.rewritten_answers import RewrittenAnswer
from protector_models.transformer_models.base_models import BaseModel
from protector_models.transformer_models.control_tokens import find_control_tokens

NO_LABEL = -100
"""What torch's cross-entropy passes over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedAnswer:
    """One example in tokens."""

    prompt_ids: list[int]
    """As in serving."""
    target_ids: list[int]
    """The end of the text included."""
    weight: float
    is_identity: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerBatch:
    """What a model gets, on the CPU."""

    ids_BT: Tensor
    mask_BT: Tensor
    """1 on tokens, 0 on padding."""
    labels_BT: Tensor
    """The targets' tokens; `NO_LABEL` elsewhere. A sequence-to-sequence model's are [B, S]."""
    weights_B: Tensor


def encode_answers(
    answers: Sequence[RewrittenAnswer], base: BaseModel, *, max_tokens: int, max_target_tokens: int
) -> list[EncodedAnswer]:
    """Encodes examples with the prompt that serving builds; those that are too long are left out, never cut.

    Args:
        answers: the examples.
        base: whose tokenizer encodes.
        max_tokens: of prompt and target together.
        max_target_tokens: of the target, its end included.
    """
    is_causal, end = not base.model.config.is_encoder_decoder, base.tokenizer.eos_token_id
    assert isinstance(end, int)
    control_tokens = find_control_tokens(base.tokenizer)
    encoded = [
        EncodedAnswer(
            prompt_ids=encode_prompt(
                base.tokenizer, answer.prompt, answer.response, is_causal=is_causal, control_tokens=control_tokens
            ),
            target_ids=[*base.tokenizer(answer.target, add_special_tokens=False)["input_ids"], end],
            weight=answer.weight,
            is_identity=answer.is_identity,
        )
        for answer in answers
    ]
    return [
        example
        for example in encoded
        if len(example.target_ids) <= max_target_tokens
        and len(example.prompt_ids) + len(example.target_ids) <= max_tokens
    ]


def collate(examples: Sequence[EncodedAnswer], *, is_causal: bool, pad_id: int) -> AnswerBatch:
    """Builds the tensors of some examples, filled up on the right."""
    inputs = [[*example.prompt_ids, *example.target_ids] if is_causal else example.prompt_ids for example in examples]
    labels = [
        [*([NO_LABEL] * len(example.prompt_ids)), *example.target_ids] if is_causal else example.target_ids
        for example in examples
    ]
    return AnswerBatch(
        ids_BT=_fill_up(inputs, pad_id),
        mask_BT=_fill_up([[1] * len(ids) for ids in inputs], 0),
        labels_BT=_fill_up(labels, NO_LABEL),
        weights_B=torch.tensor([example.weight for example in examples]),
    )


def _fill_up(rows: Sequence[Sequence[int]], filling: int) -> Tensor:
    length = max(len(row) for row in rows)
    return torch.tensor([[*row, *([filling] * (length - len(row)))] for row in rows], dtype=torch.int64)
