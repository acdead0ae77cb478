"""The edit model as a torch module: a small BERT encoder and three linear heads.

Shapes: B sentences, T tokens, H hidden units, K edit tags.
"""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from transformers import BertModel

from protector_models.training.detector_network import load_encoder


class EditLogits(NamedTuple):
    """Raw scores of the heads."""

    edit_BT: Tensor
    """Whether the word that begins with this token is edited at all."""
    tags_BTK: Tensor
    """How, given that it is."""
    toxic_B: Tensor
    """Whether the wording of the sentence as a whole is toxic."""


class EditNetwork(nn.Module):
    """Encoder and heads. Whether and how are two heads: how sure the first must be is then chosen after training."""

    def __init__(self, encoder: BertModel, num_tags: int) -> None:
        super().__init__()
        self.encoder = encoder
        num_hidden = int(encoder.config.hidden_size)
        self.edit_head = nn.Linear(num_hidden, 1)
        self.tag_head = nn.Linear(num_hidden, num_tags)
        self.toxic_head = nn.Linear(num_hidden, 1)
        # Half of the parameters; words that are rare in training keep their sense.
        self.encoder.embeddings.word_embeddings.weight.requires_grad = False

    @classmethod
    def from_pretrained(cls, directory: Path, *, num_tags: int, dropout: float) -> "EditNetwork":
        """Puts new heads on the encoder in a directory of Hugging Face form."""
        return cls(load_encoder(directory, dropout=dropout), num_tags)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> EditLogits:
        """Scores sentences; `mask_BT` is 1 on real tokens."""
        hidden_BTH = self.encoder(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        mask_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTH.dtype)
        mean_BH = (hidden_BTH * mask_BT1).sum(1) / mask_BT1.sum(1)
        return EditLogits(
            edit_BT=self.edit_head(hidden_BTH).squeeze(-1),
            tags_BTK=self.tag_head(hidden_BTH),
            toxic_B=self.toxic_head(mean_BH).squeeze(-1),
        )


class ServedEditNetwork(nn.Module):
    """What is exported: sentences without padding, one a run, so that no sentence's int8 scales depend on another's.

    The small heads are products and sums, not matrix products: `quantise` takes the latter, and these stay in fp32.
    """

    def __init__(self, network: EditNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the logits of `EditLogits`, in its order."""
        network = self.network
        hidden_BTH = network.encoder(input_ids=ids_BT).last_hidden_state
        edit_BT = (hidden_BTH * network.edit_head.weight).sum(-1) + network.edit_head.bias
        toxic_B = (hidden_BTH.mean(1) * network.toxic_head.weight).sum(-1) + network.toxic_head.bias
        return edit_BT, network.tag_head(hidden_BTH), toxic_B
