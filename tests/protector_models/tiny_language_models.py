"""Language models small enough for tests, with the vocabulary that the shipped weights use, as folders of files."""

import shutil
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from protector_models.harm_detector import SHIPPED_WEIGHTS, TOKENIZER_FILE

CHAT_TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def write_tokenizer(directory: Path, *, chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Write a tokenizer of 30,522 pieces whose texts end with [SEP]."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(SHIPPED_WEIGHTS / TOKENIZER_FILE, directory / TOKENIZER_FILE)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_file=str(directory / TOKENIZER_FILE), unk_token="[UNK]", pad_token="[PAD]", eos_token="[SEP]"
    )
    tokenizer.chat_template = chat_template
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(directory)
    return tokenizer


def write_causal_model(directory: Path, *, chat_template: str | None = None, seed: int = 0) -> Path:
    """Write a decoder with random weights."""
    tokenizer = write_tokenizer(directory, chat_template=chat_template)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=1024,
        # Large, so that the likeliest token stands far out and no rounding makes another of it.
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def write_sequence_model(directory: Path, *, seed: int = 0) -> Path:
    """Write an encoder and decoder with random weights."""
    tokenizer = write_tokenizer(directory)
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=tokenizer.pad_token_id,  # type: ignore[call-arg]  # taken by the class above it
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    T5ForConditionalGeneration(config).save_pretrained(directory)
    return directory
