"""The detector as a torch module: a small BERT encoder, pooled token vectors, linear heads.

Shapes: B windows, T tokens, H hidden units, P = 3 H pooled units, C trained categories, K = 2 + C served logits.
"""

from logging import ERROR
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import BertModel
from transformers.utils import logging

from protector_models.detectors.pooling import NUM_POOLED, pool_tokens
from protector_models.training.category_map import TRAINED_CATEGORIES


def load_encoder(directory: Path, *, dropout: float = 0.0) -> BertModel:
    """Loads an encoder from a directory of Hugging Face form, without BERT's own pooler.

    Args:
        directory: the checkpoint.
        dropout: of hidden units, in [0, 1); attention has none.
    """
    verbosity = logging.get_verbosity()
    # The pooler of the checkpoint is left behind on purpose; the report about it would alarm whoever trains.
    logging.set_verbosity(ERROR)
    try:
        return BertModel.from_pretrained(
            directory, add_pooling_layer=False, hidden_dropout_prob=dropout, attention_probs_dropout_prob=0.0
        )
    finally:
        logging.set_verbosity(verbosity)


class HeadLogits(NamedTuple):
    """Raw scores of the three heads; the sigmoid of each is in [0, 1]."""

    answer_B: Tensor
    """Harmful answer to a prompt; 1 means harmful."""
    alone_B: Tensor
    """Harmful text without a prompt: an answer whose prompt is unknown, a post, or a question by itself."""
    categories_BC: Tensor
    """Categories, given that the exchange is harmful."""


class DetectorNetwork(nn.Module):
    """Encoder and heads.

    The word embeddings are frozen: they are half of the parameters, and words rare in training keep their sense.
    """

    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.encoder = encoder
        num_pooled = NUM_POOLED * int(encoder.config.hidden_size)
        self.answer_head = nn.Linear(num_pooled, 1)
        self.alone_head = nn.Linear(num_pooled, 1)
        self.category_head = nn.Linear(num_pooled, len(TRAINED_CATEGORIES))
        self.encoder.embeddings.word_embeddings.weight.requires_grad = False

    @classmethod
    def from_pretrained(cls, directory: Path) -> "DetectorNetwork":
        """Loads the encoder from a directory of Hugging Face form, without dropout."""
        return cls(load_encoder(directory))

    def pool(self, ids_BT: Tensor, mask_BT: Tensor, segments_BT: Tensor) -> Tensor:
        """Encodes windows into one vector each. Returns [B, P]."""
        hidden_BTH = self.encoder(
            input_ids=ids_BT, attention_mask=mask_BT, token_type_ids=segments_BT
        ).last_hidden_state
        return pool_tokens(hidden_BTH, mask_BT, segments_BT)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor, segments_BT: Tensor) -> HeadLogits:
        """Scores windows. `mask_BT` is 1 on real tokens, `segments_BT` 0 on the prompt and 1 on the response."""
        pooled_BP = self.pool(ids_BT, mask_BT, segments_BT)
        return HeadLogits(
            answer_B=self.answer_head(pooled_BP).squeeze(-1),
            alone_B=self.alone_head(pooled_BP).squeeze(-1),
            categories_BC=self.category_head(pooled_BP),
        )


class ServedNetwork(nn.Module):
    """What is exported: one tensor with the logits of answer and text alone first, then one logit per category.

    It reads windows without padding, one a run, and needs no mask: see `protector_models.detectors.window_scorer`. That
    alone is what keeps a score independent of other windows: those of one run share the scales of int8.

    The heads are written as a product and a sum over the last axis, not as a matrix product: `quantise` takes the
    matrix products with weights, and the heads stay in fp32. `protector_models.detectors.graph_weights` reads them in
    this form.
    """

    def __init__(self, network: DetectorNetwork) -> None:
        super().__init__()
        self.network = network
        heads = (network.answer_head, network.alone_head, network.category_head)
        self.weight_KP: Tensor
        self.bias_K: Tensor
        self.register_buffer("weight_KP", torch.cat([head.weight.detach() for head in heads]))
        self.register_buffer("bias_K", torch.cat([head.bias.detach() for head in heads]))

    def forward(self, ids_BT: Tensor, segments_BT: Tensor) -> Tensor:
        """Returns logits [B, K] of windows of one length."""
        hidden_BTH = self.network.encoder(input_ids=ids_BT, token_type_ids=segments_BT).last_hidden_state
        pooled_BP = pool_tokens(hidden_BTH, torch.ones_like(ids_BT), segments_BT)
        return (pooled_BP.unsqueeze(1) * self.weight_KP).sum(-1) + self.bias_K
