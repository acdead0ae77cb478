"""What the tiny checkpoint of each family of guards is made of: architecture, chat template, and how it answers.

Importing this module takes seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

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
    Qwen3Config,
    Qwen3ForCausalLM,
)

MAX_POSITIONS = 1_024
"""Tokens that a tiny guard reads and writes, all together."""

_SHAPE = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": MAX_POSITIONS,
}
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


GUARD_FAMILIES: Mapping[str, GuardFamily] = {
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
"""By the names of the families."""
