"""Pretrained models of transformers: loaded from safetensors with their tokenizers, and with adapters put on them."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from protector_models.checkpoints.model_folders import ADAPTER_FILES
from protector_models.moderation.errors import ConfigurationError
from protector_models.settings import Device
from protector_models.transformer_models.pretrained_weights import load_pretrained, quietly, require_all_weights

_LORA = "lora_"
"""In the name of every tensor of a LoRA adapter, those aside that it replaces whole."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """A pretrained model and its tokenizer, as training starts from and serving adapts."""

    model: Any
    tokenizer: PreTrainedTokenizerBase


def load_base_model(directory: Path, *, dtype: torch.dtype) -> BaseModel:
    """Load a causal or sequence-to-sequence model of a folder onto the CPU. Code of a repository is never run.

    Raises:
        ConfigurationError: transformers cannot load it, it is of neither sort, or its files lack some of its weights.
    """
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, missing = load_pretrained(kind, directory, config=config, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ConfigurationError(f"{directory}: not a model that transformers loads: {explain(error)}") from error
    require_all_weights(directory, missing)
    return BaseModel(model=model, tokenizer=tokenizer)


def make_generation_config(base: BaseModel, *, max_new_tokens: int) -> GenerationConfig:
    """Return how a model's texts end: at any token that its tokenizer or its makers say ends a text.

    Raises:
        ConfigurationError: neither says any.
    """
    own, tokenizer = base.model.generation_config, base.tokenizer
    named = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    ends = sorted({token for token in [*named, tokenizer.eos_token_id] if token is not None})
    if not ends:
        raise ConfigurationError(
            f"{base.model.name_or_path}: the model has no token that ends a text; expected one in "
            "its tokenizer or generation_config.json"
        )
    return GenerationConfig(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=ends,
        # Masked out wherever it stands, so that the end will do where there is none.
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0],
        bos_token_id=own.bos_token_id,
        decoder_start_token_id=own.decoder_start_token_id,
        forced_bos_token_id=own.forced_bos_token_id,
    )


def put_adapter(model: Any, directory: Path) -> Any:
    """Return a model with an adapter on it, to be used and not trained.

    Raises:
        ConfigurationError: peft cannot put it there, or only a part of it.
    """
    try:
        with quietly(), warnings.catch_warnings():
            # peft warns, and goes on with a model that is not adapted there.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            adapted = PeftModel.from_pretrained(model, str(directory), is_trainable=False)
        num_places = sum(_LORA in name for name in get_peft_model_state_dict(adapted, save_embedding_layers=False))
        with safe_open(directory / ADAPTER_FILES[1], framework="pt") as tensors:
            num_tensors = sum(_LORA in name for name in tensors.keys())  # noqa: SIM118  # it is no dict
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, UserWarning) as error:
        raise ConfigurationError(
            f"{directory}: not an adapter that peft puts on this model: {explain(error)}"
        ) from error
    if num_tensors != num_places:
        raise ConfigurationError(
            f"{directory}: an adapter of {num_tensors} tensors; expected {num_places}, one for each adapted place of "
            "this model: it is of another base"
        )
    return adapted


def require_device(device: Device, *, section: str) -> None:
    """Refuse a device that torch does not have here.

    Args:
        device: the one that is configured.
        section: of the configuration, for the message.

    Raises:
        ConfigurationError: it has none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(f"{section}.device: 'cuda', but torch finds no GPU here; expected one, or 'cpu'")


def explain(error: Exception) -> str:
    """Return an error of a library in one line of bounded length."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
