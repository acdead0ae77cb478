"""Tiny sequence classifiers: the architectures that people bring, with some ten thousand random weights each.

What they score is noise, but everything on the way is what a real checkpoint brings: tokenizer, configuration, head,
adapter. Importing this module takes seconds.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    RobertaConfig,
    T5Config,
)

from protector_models.tiny_checkpoints.vocabulary import write_tokenizer

MAX_POSITIONS = 512
ADAPTER = "adapter"
"""Where in its folder a family that is an adapter has it; its base lies in `base`."""
BASE = "base"

_HIDDEN = 32
# Large, so that scores differ from text to text by more than their rounding.
_SPREAD = 0.5

_ENCODER: Mapping[str, Any] = {
    "hidden_size": _HIDDEN,
    "intermediate_size": 2 * _HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": _SPREAD,
    "num_labels": 2,
}
_DECODER: Mapping[str, Any] = {**_ENCODER, "num_key_value_heads": 1, "max_position_embeddings": MAX_POSITIONS}


def write_bert(directory: Path, *, seed: int = 0) -> Path:
    """Write an encoder such as BERT: absolute positions, a pair of texts in segments."""
    tokenizer = write_tokenizer(directory)
    config = BertConfig(**_ENCODER, **_tokens(tokenizer), max_position_embeddings=MAX_POSITIONS)
    return _write(directory, config, seed=seed)


def write_distilbert(directory: Path, *, seed: int = 0) -> Path:
    """Write an encoder such as DistilBERT: no segments."""
    tokenizer = write_tokenizer(directory)
    config = DistilBertConfig(
        **_tokens(tokenizer),
        dim=_HIDDEN,
        hidden_dim=2 * _HIDDEN,
        n_layers=2,
        n_heads=2,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=_SPREAD,
        num_labels=2,  # type: ignore[call-arg]  # taken by the class above it
    )
    return _write(directory, config, seed=seed)


def write_roberta(directory: Path, *, seed: int = 0) -> Path:
    """Write an encoder such as RoBERTa: positions are counted from behind the padding token's number."""
    tokenizer = write_tokenizer(directory)
    padding = tokenizer.convert_tokens_to_ids("[PAD]")
    assert isinstance(padding, int)
    config = RobertaConfig(**_ENCODER, **_tokens(tokenizer), max_position_embeddings=MAX_POSITIONS + padding + 1)
    return _write(directory, config, seed=seed)


def write_deberta(directory: Path, *, seed: int = 0) -> Path:
    """Write an encoder such as DeBERTa v2 and v3: relative positions in the attention, none in the embeddings."""
    tokenizer = write_tokenizer(directory)
    # As v3 has it: the model reads them, though the configuration's class does not name them.
    further: dict[str, Any] = {"position_buckets": 64, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
    config = DebertaV2Config(
        **_ENCODER,
        **further,
        **_tokens(tokenizer),
        max_position_embeddings=MAX_POSITIONS,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
    )
    return _write(directory, config, seed=seed)


def write_modernbert(directory: Path, *, seed: int = 0) -> Path:
    """Write an encoder such as ModernBERT: rotary positions, windows of attention."""
    tokenizer = write_tokenizer(directory)
    numbers: dict[str, Any] = {
        name: tokenizer.convert_tokens_to_ids(token) for name, token in _MODERNBERT_TOKENS.items()
    }
    config = ModernBertConfig(
        **_ENCODER, vocab_size=len(tokenizer), max_position_embeddings=MAX_POSITIONS, local_attention=64, **numbers
    )
    return _write(directory, config, seed=seed)


_MODERNBERT_TOKENS = {
    "pad_token_id": "[PAD]",
    "cls_token_id": "[CLS]",
    "bos_token_id": "[CLS]",
    "sep_token_id": "[SEP]",
    "eos_token_id": "[SEP]",
}


def write_llama(directory: Path, *, seed: int = 0) -> Path:
    """Write a decoder such as Llama: the last token that is not padding is pooled."""
    tokenizer = write_tokenizer(directory)
    return _write(directory, LlamaConfig(**_DECODER, **_tokens(tokenizer)), seed=seed)


def write_qwen3(directory: Path, *, seed: int = 0) -> Path:
    """Write a decoder such as Qwen3, which Qwen3Guard-Stream and many reward models stand on."""
    tokenizer = write_tokenizer(directory)
    return _write(directory, Qwen3Config(**_DECODER, **_tokens(tokenizer), head_dim=16), seed=seed)


def write_gemma3(directory: Path, *, seed: int = 0) -> Path:
    """Write a decoder such as the text part of Gemma 3: some layers attend to a window alone."""
    tokenizer = write_tokenizer(directory)
    config = Gemma3TextConfig(
        **_DECODER, **_tokens(tokenizer), head_dim=16, query_pre_attn_scalar=16, sliding_window=64
    )
    return _write(directory, config, seed=seed)


def write_t5(directory: Path, *, seed: int = 0) -> Path:
    """Write an encoder and decoder such as T5: the last end token is pooled."""
    tokenizer = write_tokenizer(directory)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=_HIDDEN,
        d_kv=16,
        d_ff=2 * _HIDDEN,
        num_layers=2,
        num_heads=2,
        initializer_factor=1.0,
        decoder_start_token_id=tokenizer.pad_token_id,  # type: ignore[call-arg]  # taken by the class above it
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=2,
    )
    return _write(directory, config, seed=seed)


def write_protector(directory: Path, *, seed: int = 0) -> Path:
    """Write a detector such as MLLM-Protector's: a language model, and a LoRA adapter with a head of one logit."""
    base = directory / BASE
    tokenizer = write_tokenizer(base)
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(**_DECODER, **_tokens(tokenizer))).save_pretrained(base)
    adapted = get_peft_model(
        AutoModelForSequenceClassification.from_pretrained(base, num_labels=1),
        LoraConfig(
            task_type="SEQ_CLS", r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False
        ),
    )
    adapted.save_pretrained(str(directory / ADAPTER))
    return directory


def _tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.convert_tokens_to_ids("[CLS]"),
        "eos_token_id": tokenizer.eos_token_id,
    }


def _write(directory: Path, config: Any, *, seed: int) -> Path:
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]  # theirs
    model.save_pretrained(directory)
    return directory


FAMILIES: Mapping[str, Callable[[Path], Path]] = {
    "bert": write_bert,
    "distilbert": write_distilbert,
    "roberta": write_roberta,
    "deberta-v2": write_deberta,
    "modernbert": write_modernbert,
    "llama-classifier": write_llama,
    "qwen3-classifier": write_qwen3,
    "gemma3-classifier": write_gemma3,
    "t5-classifier": write_t5,
    "mllm-protector": write_protector,
}
"""By name, what writes a family's checkpoint into a folder and returns the folder."""


def configure_classifier(family: str, directory: Path) -> dict[str, object]:
    """Return the `detector` section that runs a family's checkpoint in a folder."""
    if family != "mllm-protector":
        return {"kind": "transformers", "description": "binary-classifier", "model": str(directory)}
    return {
        "kind": "transformers",
        "description": "mllm-protector-3b",
        "model": str(directory / BASE),
        "adapter": str(directory / ADAPTER),
    }
