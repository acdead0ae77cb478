"""A pretrained encoder small enough for tests, with the vocabulary that the shipped weights use."""

import shutil
from pathlib import Path

import pytest

from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, TOKENIZER_FILE


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch  # noqa: PLC0415 - seconds, not even for tests that are left out
    from transformers import BertConfig, BertModel  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_position_embeddings=512
    )
    BertModel(config).save_pretrained(directory)
    shutil.copyfile(SHIPPED_WEIGHTS / TOKENIZER_FILE, directory / TOKENIZER_FILE)
    return directory
