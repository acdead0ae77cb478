"""Generative guards small enough to build in seconds, which say each of their verdicts.

Each has the architecture of its family, a chat template of ours that takes what the family's takes, and weights that
were taught to answer in the family's words. They call a text unsafe where it speaks of killing, and know nothing else:
they are for trying configurations out.

Importing this module takes seconds.

Shapes: B examples, T tokens of the longest of them.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    Llama4Config,
    Llama4ForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from protector_models.detectors.checkpoint_description import load_description
from protector_models.detectors.exchange_windows import ExchangeWindow
from protector_models.detectors.harm_detector import SHIPPED_WEIGHTS, TOKENIZER_FILE
from protector_models.guards.encoding import GuardEncoding
from protector_models.guards.generative_head import GenerativeHead

TEMPLATE_FILE = "template.txt"
"""What `detector.template` names, in the folder of a guard without a chat template."""
CUE = "kill"
"""The word that a tiny guard takes for harm."""

_NUM_TOKENS = 1_500
_END, _PAD = "<|end|>", "<|pad|>"
_MAX_POSITIONS = 1_024
_SHAPE = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": _MAX_POSITIONS,
}
_NO_LABEL = -100
_HARMLESS = (
    "I you they people want need like how what where can tell help make find know bake cake garden music water house "
    "friend school happy old red good day walk read the a of to in and with for from, . ? ! please thank answer"
)
_WORDS = _HARMLESS.split()

_TURNS = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
_PARTS = (
    "{% for message in messages %}<|{{ message.role }}|>{% for part in message.content %}{{ part.text }}{% endfor %}"
    "{% endfor %}"
)
_ANSWER = "{% if add_generation_prompt %}<|answer|>{% endif %}"


def _require(argument: str, value: str) -> str:
    return (
        f"{{% if not {argument} %}}{{{{ raise_exception('expected {argument}') }}}}{{% endif %}}"
        f"<|question|>{{{{ {value} }}}}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFamily:
    """What a family's tiny checkpoint is made of."""

    description: str
    """The name of its description."""
    build: Callable[[int], Any]
    """Makes the model for a number of tokens, with random weights."""
    chat_template: str | None
    """None: it has a template file instead."""
    answers: tuple[str, str]
    """What it says of a harmless response to a prompt, and of a harmful one."""
    answers_alone: tuple[str, str]
    """The same of a text that stands alone."""


def _llama4(num_tokens: int) -> Any:
    # Dense, as Llama Guard 4 is, and with eyes that nothing here looks through.
    text = {**_SHAPE, "vocab_size": num_tokens, "intermediate_size_mlp": 96, "moe_layers": [], "num_local_experts": 1}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"vision_output_dim": 16, "projector_input_dim": 16, "projector_output_dim": 16, "image_size": 28}
    config = Llama4Config(text_config=text, vision_config={**vision, **sizes, "patch_size": 14})
    return Llama4ForConditionalGeneration(config)


_SAFE_OR_CODES = ("\n\nsafe", "\n\nunsafe\nS1")
_YES_OR_NO = ("No", "Yes")
_SCORES = ("<score> no </score>", "<score> yes </score>")
_SAFETY_LINES = (
    "Safety: Safe\nCategories: None\nRefusal: No",
    "Safety: Unsafe\nCategories: Violent\nRefusal: No",
)
_THREE_LINES = (
    "Harmful request: no\nResponse refusal: no\nHarmful response: no",
    "Harmful request: yes\nResponse refusal: no\nHarmful response: yes",
)


def _causal(model: type[Any], config: type[Any], num_tokens: int) -> Any:
    return model(config(vocab_size=num_tokens, **_SHAPE, tie_word_embeddings=False))


_FAMILIES: Mapping[str, GuardFamily] = {
    "llama-guard-3": GuardFamily(
        description="llama-guard-3",
        build=partial(_causal, LlamaForCausalLM, LlamaConfig),
        chat_template=_TURNS + _ANSWER,
        answers=_SAFE_OR_CODES,
        answers_alone=_SAFE_OR_CODES,
    ),
    "llama-guard-4": GuardFamily(
        description="llama-guard-4",
        build=_llama4,
        chat_template=_PARTS + _ANSWER,
        answers=_SAFE_OR_CODES,
        answers_alone=_SAFE_OR_CODES,
    ),
    "qwen3guard-gen": GuardFamily(
        description="qwen3guard-gen-strict",
        build=partial(_causal, Qwen3ForCausalLM, Qwen3Config),
        chat_template=_TURNS + _ANSWER,
        answers=_SAFETY_LINES,
        answers_alone=(_SAFETY_LINES[0].rpartition("\n")[0], _SAFETY_LINES[1].rpartition("\n")[0]),
    ),
    "wildguard": GuardFamily(
        description="wildguard",
        build=partial(_causal, MistralForCausalLM, MistralConfig),
        chat_template=None,
        answers=_THREE_LINES,
        answers_alone=_THREE_LINES,
    ),
    "shieldgemma": GuardFamily(
        description="shieldgemma",
        build=partial(_causal, Gemma2ForCausalLM, Gemma2Config),
        chat_template=_TURNS + _require("guideline", "guideline[:20]") + _ANSWER,
        answers=_YES_OR_NO,
        answers_alone=_YES_OR_NO,
    ),
    "granite-guardian": GuardFamily(
        description="granite-guardian",
        build=partial(_causal, GraniteForCausalLM, GraniteConfig),
        chat_template=_TURNS + _require("guardian_config.risk_name", "guardian_config.risk_name") + _ANSWER,
        answers=_YES_OR_NO,
        answers_alone=_YES_OR_NO,
    ),
    "granite-guardian-3.3": GuardFamily(
        description="granite-guardian-3.3",
        build=partial(_causal, GraniteForCausalLM, GraniteConfig),
        chat_template=_TURNS + _require("guardian_config.criteria_id", "guardian_config.criteria_id") + _ANSWER,
        answers=_SCORES,
        answers_alone=_SCORES,
    ),
}


def write_guard(family: str, directory: Path, *, num_steps: int = 160) -> Path:
    """Write the tiny checkpoint of a family: model, tokenizer, and a template file where it needs one.

    Args:
        family: its name.
        directory: is made where it is not there.
        num_steps: of teaching; 0 leaves the weights random, and the answers nonsense.
    """
    parts = _FAMILIES[family]
    tokenizer = _write_tokenizer(directory, parts)
    template = None
    if parts.chat_template is None:
        template = "Request: {prompt}\nResponse: {response}\nAnswers:\n"
        (directory / TEMPLATE_FILE).write_text(template)
    torch.manual_seed(0)
    model = parts.build(len(tokenizer))
    head = load_description(parts.description).head
    assert isinstance(head, GenerativeHead)
    _teach(model, tokenizer, GuardEncoding(tokenizer, head, template=template), parts, head, num_steps=num_steps)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(directory)
    return directory


def configure_guard(family: str, directory: Path) -> dict[str, object]:
    """Return the `detector` section that a family's checkpoint in a folder is used with."""
    parts = _FAMILIES[family]
    section: dict[str, object] = {
        "kind": "transformers",
        "description": parts.description,
        "model": str(directory),
        "max_input_tokens": _MAX_POSITIONS - 64,
    }
    if parts.chat_template is None:
        section["template"] = str(directory / TEMPLATE_FILE)
    return section


FAMILIES: Mapping[str, Callable[[Path], Path]] = {name: partial(write_guard, name) for name in _FAMILIES}
"""Writes the checkpoint of each family into a folder."""


def _write_tokenizer(directory: Path, parts: GuardFamily) -> PreTrainedTokenizerFast:
    """Write a byte-level tokenizer, such as the families have, made from the pieces of the shipped vocabulary."""
    directory.mkdir(parents=True, exist_ok=True)
    pieces = sorted(Tokenizer.from_file(str(SHIPPED_WEIGHTS / TOKENIZER_FILE)).get_vocab())
    words = [piece for piece in pieces if piece.isascii() and piece.isalpha()]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    roles = [f"<|{role}|>" for role in ("user", "assistant", "question", "answer")]
    trainer = trainers.BpeTrainer(
        vocab_size=_NUM_TOKENS,
        show_progress=False,
        special_tokens=[_PAD, _END, *roles],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    # The family's words often enough to become tokens: a tiny model learns short answers sooner.
    answers = [*parts.answers, *parts.answers_alone] * 500
    made.train_from_iterator([*words, *(f" {word}" for word in words), *answers], trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=made, pad_token=_PAD, eos_token=_END, additional_special_tokens=roles
    )
    tokenizer.chat_template = parts.chat_template
    tokenizer.save_pretrained(directory)
    return tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    prompt_ids: list[int]
    answer_ids: list[int]


def _teach(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    encoding: GuardEncoding,
    parts: GuardFamily,
    head: GenerativeHead,
    *,
    num_steps: int,
) -> None:
    """Teach a model to answer as its family does, on texts of random words with and without the cue."""
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
