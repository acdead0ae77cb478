"""The untouched base encoder, read by two judges: one as it is, one with an adapter.

Shapes: B texts, T tokens, H hidden units.
"""

from collections.abc import Callable, Sequence
from logging import ERROR
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertModel
from transformers.utils import logging

from protector_models.moderation.batch_cuts import split_by_count

MAX_TOKENS = 256
"""The base encoder was trained on so many; what comes after them is not read."""
_BATCH_SIZE = 64


def load_base_network(directory: Path) -> BertModel:
    """Loads the encoder without dropout and without BERT's own pooler, which nothing here uses."""
    verbosity = logging.get_verbosity()
    # The pooler of the checkpoint is left behind on purpose; the report about it would alarm whoever evaluates.
    logging.set_verbosity(ERROR)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    try:
        network: BertModel = BertModel.from_pretrained(
            directory, add_pooling_layer=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        )
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # the same
    return network


def load_base_tokenizer(directory: Path) -> Tokenizer:
    """Loads the encoder's tokenizer so that it cuts at 256 tokens and pads to the longest text of a batch."""
    tokenizer: Tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Returns ids [B, T] and mask [B, T], 1 on real tokens."""
    encoded = tokenizer.encode_batch(list(texts))
    return torch.tensor([each.ids for each in encoded]), torch.tensor([each.attention_mask for each in encoded])


def encode_hidden(network: nn.Module, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Runs the encoder. Returns [B, T, H]."""
    hidden_BTH: Tensor = network(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
    return hidden_BTH


def average_tokens(hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """Returns the mean over the real tokens [B, H]."""
    kept_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTH.dtype)
    return (hidden_BTH * kept_BT1).sum(1) / kept_BT1.sum(1)


def run_by_length(texts: Sequence[str], run: Callable[[Sequence[str]], Tensor]) -> Tensor:
    """Runs texts of like length together and returns the rows in the order of the texts; equal texts run once."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    outputs = [run(batch) for batch in split_by_count(distinct, _BATCH_SIZE)]
    places = {text: place for place, text in enumerate(distinct)}
    return torch.cat(outputs)[[places[text] for text in texts]]
