"""The edit model as a torch module: a small BERT encoder and four linear heads.

Shapes: B sentences, T tokens, H hidden units, K edit tags.
"""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from protector_models.training.encoders import Encoder, load_encoder


class EditLogits(NamedTuple):
    """Raw scores of the heads."""

    edit_BT: Tensor
    """Whether the word that begins with this token is edited at all."""
    tags_BTK: Tensor
    """How, given that it is."""
    toxic_B: Tensor
    """Whether the wording of the sentence as a whole is toxic."""
    fluent_B: Tensor
    """Whether the sentence is one that people write, and no edit has broken it."""


class EditNetwork(nn.Module):
    """Encoder and heads. Whether and how are two heads: how sure the first must be is then chosen after training."""

    def __init__(self, encoder: Encoder, num_tags: int) -> None:
        super().__init__()
        self.encoder = encoder
        num_hidden = int(encoder.config.hidden_size)
        self.edit_head = nn.Linear(num_hidden, 1)
        self.tag_head = nn.Linear(num_hidden, num_tags)
        self.toxic_head = nn.Linear(num_hidden, 1)
        self.fluent_head = nn.Linear(num_hidden, 1)
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
            fluent_B=self.fluent_head(mean_BH).squeeze(-1),
        )


class ServedEditNetwork(nn.Module):
    """What is exported: sentences without padding, one a run, so that no sentence's int8 scales depend on another's.

    The small heads are products and sums, not matrix products: `quantise` takes the latter, and these stay in fp32.
    """

    def __init__(self, network: EditNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_BT: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns the logits of `EditLogits`, in its order."""
        network = self.network
        hidden_BTH = network.encoder(input_ids=ids_BT).last_hidden_state
        mean_BH = hidden_BTH.mean(1)
        return (
            _apply_head(network.edit_head, hidden_BTH),
            network.tag_head(hidden_BTH),
            _apply_head(network.toxic_head, mean_BH),
            _apply_head(network.fluent_head, mean_BH),
        )


def _apply_head(head: nn.Linear, inputs: Tensor) -> Tensor:
    return (inputs * head.weight[0]).sum(-1) + head.bias
