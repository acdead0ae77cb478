"""A served edit model, put back into a network."""

from pathlib import Path

import pytest
import torch

from protector_models.checkpoints.cards import CheckpointError, hash_file
from protector_models.detoxification.edit_decoding import DecodingPlan
from protector_models.detoxification.edit_encoding import EDIT_LAYOUT
from protector_models.detoxification.edit_model import EditModelCard
from protector_models.detoxification.tagged_words import DELETE, replace_tag
from protector_models.training.detoxification.edit_export import export_edit_fp32
from protector_models.training.detoxification.edit_network import EditNetwork
from protector_models.training.detoxification.edit_restart import load_served_weights
from protector_models.training.export import copy_tokenizer, quantise

pytestmark = pytest.mark.training

TAGS = (DELETE, replace_tag(["person"]), replace_tag(["thing"]))
IDS = torch.tensor([[2, 7, 8, 9, 3]])


def _network(encoder: Path, num_tags: int, seed: int) -> EditNetwork:
    torch.manual_seed(seed)
    network = EditNetwork.from_pretrained(encoder, num_tags=num_tags, dropout=0.0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "word_emb" not in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return network.eval()


@pytest.fixture
def served(tiny_encoder: Path, tmp_path: Path) -> Path:
    fp32_file = export_edit_fp32(_network(tiny_encoder, len(TAGS), seed=1), tmp_path)
    files = [quantise(fp32_file, tmp_path), copy_tokenizer(tiny_encoder, tmp_path)]
    EditModelCard(
        name="tiny",
        files={file.name: hash_file(file) for file in files},
        recipe={},
        validation={},
        layout=EDIT_LAYOUT,
        tags=TAGS,
        decoding=DecodingPlan(),
        tolerance="none",
    ).save(tmp_path)
    return tmp_path


def test_what_is_put_back_says_nearly_the_same_of_known_tags_in_any_order(served: Path, tiny_encoder: Path) -> None:
    before = _network(tiny_encoder, len(TAGS), seed=1)
    after = _network(tiny_encoder, 4, seed=2)
    load_served_weights(after, served, (TAGS[2], "replace stranger", TAGS[0], TAGS[1]))
    with torch.inference_mode():
        ours, theirs = (network(IDS, torch.ones_like(IDS)) for network in (after, before))
    # Weights were rounded to 256 steps of a channel's range.
    for known, wanted in [
        (ours.tags_BTK[..., [2, 3, 0]], theirs.tags_BTK),
        (ours.edit_BT, theirs.edit_BT),
        (ours.toxic_B, theirs.toxic_B),
        (ours.fluent_B, theirs.fluent_B),
    ]:
        assert torch.allclose(known, wanted, atol=0.1)


def test_a_model_of_another_form_is_refused(served: Path, tiny_encoder: Path) -> None:
    network = _network(tiny_encoder, len(TAGS), seed=1)
    network.edit_head = torch.nn.Linear(5, 1)
    with pytest.raises(CheckpointError, match="not of this network's form"):
        load_served_weights(network, served, TAGS)
