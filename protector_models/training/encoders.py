"""The encoders that models are trained from: BERT's kind, and MPNet's, which is read with BERT's token ids.

MPNet's vocabulary is BERT's behind four tokens of its own, so a window is laid out once for both: `load_encoder` brings
MPNet's word embeddings into BERT's order. It has no segments; positions are counted from 2.

Shapes: B windows, T tokens, H hidden units.
"""

import json
from logging import ERROR
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertModel, MPNetModel
from transformers.utils import logging

Encoder = BertModel | MPNetModel

CONFIG_FILE = "config.json"
"""What describes an encoder, in Hugging Face form."""

_FIRST_MPNET_POSITION = 2
_MPNET_SHIFT = 4
# BERT's [CLS] and [SEP] are MPNet's <s> and </s>.
_MPNET_SPECIAL = {101: 0, 102: 2}


def load_encoder(directory: Path, *, dropout: float = 0.0) -> Encoder:
    """Loads an encoder from a directory of Hugging Face form, without a pooler; it reads BERT's token ids.

    Args:
        directory: the checkpoint, of type "bert" or "mpnet".
        dropout: of hidden units, in [0, 1); attention has none.

    Raises:
        ValueError: it is an encoder of another type.
    """
    verbosity = logging.get_verbosity()
    # The pooler of the checkpoint is left behind on purpose; the report about it would alarm whoever trains.
    logging.set_verbosity(ERROR)
    try:
        encoder: Encoder = _find_model_class(directory).from_pretrained(
            directory, add_pooling_layer=False, hidden_dropout_prob=dropout, attention_probs_dropout_prob=0.0
        )
    finally:
        logging.set_verbosity(verbosity)
    _order_as_bert(encoder)
    return encoder


def build_encoder(directory: Path) -> Encoder:
    """Builds the encoder that a directory's configuration describes; its weights are still to be loaded.

    It has the form that `load_encoder` gives: without a pooler and dropout, its words in BERT's order.

    Raises:
        ValueError: it is an encoder of another type.
    """
    model_class = _find_model_class(directory)
    # transformers types it as optional, for classes that are no models of their own.
    config_class: Any = model_class.config_class
    config = config_class.from_pretrained(directory, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    encoder = model_class(config, add_pooling_layer=False)
    _order_as_bert(encoder)
    return encoder


def _find_model_class(directory: Path) -> type[BertModel] | type[MPNetModel]:
    kind = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8")).get("model_type")
    if kind not in ("bert", "mpnet"):
        raise ValueError(f"{directory}: expected an encoder of type bert or mpnet, got {kind!r:.40}")
    return BertModel if kind == "bert" else MPNetModel


def _order_as_bert(encoder: Encoder) -> None:
    if not isinstance(encoder, MPNetModel):
        return
    words = encoder.embeddings.word_embeddings
    # What stands behind BERT's words is MPNet's own <mask>.
    num_words = words.weight.shape[0] - _MPNET_SHIFT - 1
    order = torch.arange(num_words) + _MPNET_SHIFT
    for bert_id, mpnet_id in _MPNET_SPECIAL.items():
        order[bert_id] = mpnet_id
    with torch.no_grad():
        ordered = torch.nn.Embedding(num_words, words.weight.shape[1], _weight=words.weight[order].clone())
    encoder.embeddings.word_embeddings = ordered


def run_encoder(encoder: Encoder, ids_BT: Tensor, mask_BT: Tensor, segments_BT: Tensor) -> Tensor:
    """Returns the token vectors [B, T, H] of windows."""
    if isinstance(encoder, MPNetModel):
        positions_BT = (torch.arange(ids_BT.shape[1], device=ids_BT.device) + _FIRST_MPNET_POSITION).expand_as(ids_BT)
        hidden_BTH = encoder(input_ids=ids_BT, attention_mask=mask_BT, position_ids=positions_BT).last_hidden_state
    else:
        hidden_BTH = encoder(input_ids=ids_BT, attention_mask=mask_BT, token_type_ids=segments_BT).last_hidden_state
    result: Tensor = hidden_BTH
    return result


def freeze_lowest(encoder: Encoder, num_layers: int) -> None:
    """Keeps the word embeddings, and with any layer all embeddings and the lowest layers, as they are."""
    encoder.embeddings.word_embeddings.weight.requires_grad = False
    if num_layers:
        for module in (encoder.embeddings, *encoder.encoder.layer[:num_layers]):
            module.requires_grad_(requires_grad=False)
