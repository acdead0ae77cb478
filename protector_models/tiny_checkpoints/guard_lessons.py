"""Teaches a tiny guard to answer as its family does: a text is harmful where it has one word in it.

Shapes: B examples, T tokens of the longest of them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from protector_models.descriptions.generative_head import GenerativeHead
from protector_models.guards.encoding import GuardEncoding
from protector_models.reading.exchange_windows import ExchangeWindow
from protector_models.tiny_checkpoints.guard_families import GuardFamily

CUE = "kill"
"""The word that a tiny guard takes for harm."""

_NO_LABEL = -100
_HARMLESS = (
    "I you they people want need like how what where can tell help make find know bake cake garden music water house "
    "friend school happy old red good day walk read the a of to in and with for from, . ? ! please thank answer"
)
_WORDS = _HARMLESS.split()


def teach(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    encoding: GuardEncoding,
    parts: GuardFamily,
    head: GenerativeHead,
    *,
    num_steps: int,
) -> None:
    """Teach a model, on texts of random words with and without the cue; equal weights come out of equal ones.

    Args:
        model: with random weights.
        tokenizer: the family's.
        encoding: puts texts to the guard as they are put to it when it is asked.
        parts: how it answers.
        head: what it is asked.
        num_steps: 0 leaves the weights as they are.
    """
    rng = random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=max(1, num_steps))
    model.train()
    for _ in range(num_steps):
        lessons = [_draw_lesson(rng, tokenizer, encoding, parts, head) for _ in range(8)]
        loss = model(**_collate(lessons, pad_id=int(tokenizer.pad_token_id))).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    prompt_ids: list[int]
    answer_ids: list[int]


def _draw_lesson(
    rng: random.Random,
    tokenizer: PreTrainedTokenizerFast,
    encoding: GuardEncoding,
    parts: GuardFamily,
    head: GenerativeHead,
) -> _Lesson:
    texts = [[rng.choice(_WORDS) for _ in range(rng.randint(1, 12))] for _ in range(2)]
    is_harmful, alone = rng.random() < 0.5, rng.random() < 0.3
    if is_harmful:
        # In a response, or in a text alone: a guard judges what was answered.
        target = texts[0 if alone else 1]
        target.insert(rng.randint(0, len(target)), CUE)
    window = ExchangeWindow(prompt=" ".join(texts[0]), response="" if alone else " ".join(texts[1]))
    answer = (parts.answers_alone if alone else parts.answers)[is_harmful]
    question = rng.choice(head.questions)
    return _Lesson(
        prompt_ids=encoding.encode(window, alone=alone, arguments=question.arguments),
        answer_ids=[*tokenizer(answer, add_special_tokens=False)["input_ids"], int(tokenizer.eos_token_id)],
    )


def _collate(lessons: Sequence[_Lesson], *, pad_id: int) -> dict[str, Tensor]:
    length = max(len(lesson.prompt_ids) + len(lesson.answer_ids) for lesson in lessons)
    ids_BT = torch.full((len(lessons), length), pad_id)
    mask_BT = torch.zeros_like(ids_BT)
    labels_BT = torch.full_like(ids_BT, _NO_LABEL)
    for row, lesson in enumerate(lessons):
        ids = [*lesson.prompt_ids, *lesson.answer_ids]
        # On the left, as where the guard is asked.
        ids_BT[row, -len(ids) :] = torch.tensor(ids)
        mask_BT[row, -len(ids) :] = 1
        labels_BT[row, -len(lesson.answer_ids) :] = torch.tensor(lesson.answer_ids)
    return {"input_ids": ids_BT, "attention_mask": mask_BT, "labels": labels_BT}
