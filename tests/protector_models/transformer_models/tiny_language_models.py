"""Language models small enough for tests, with the vocabulary that the shipped weights use, as folders of files."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from protector_models.tiny_checkpoints.vocabulary import write_tokenizer


def write_causal_model(directory: Path, *, chat_template: str | None = None, seed: int = 0) -> Path:
    """Write a decoder with random weights."""
    tokenizer = write_tokenizer(directory, chat_template=chat_template)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
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
        d_model=64,
        d_kv=32,
        d_ff=128,
        num_layers=2,
        num_heads=2,
        # With a head of its own the scores lie far enough apart to learn something by heart.
        tie_word_embeddings=False,
        decoder_start_token_id=tokenizer.pad_token_id,  # type: ignore[call-arg]  # taken by the class above it
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    T5ForConditionalGeneration(config).save_pretrained(directory)
    return directory
