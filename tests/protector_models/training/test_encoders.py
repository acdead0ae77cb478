"""Encoders of BERT's kind and of MPNet's are read with the same token ids."""

import json
from pathlib import Path

import pytest
import torch
from transformers import MPNetConfig, MPNetModel

from protector_models.training.encoders import freeze_lowest, load_encoder, run_encoder

pytestmark = pytest.mark.training

NUM_WORDS = 200
# BERT's [CLS] and [SEP] are MPNet's <s> and </s>; all other words stand four places later.
START, END = 101, 102
PAD = 1


def _write_mpnet(directory: Path) -> MPNetModel:
    torch.manual_seed(0)
    config = MPNetConfig(
        vocab_size=NUM_WORDS + 5,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    model: MPNetModel = MPNetModel(config).eval()  # type: ignore[no-untyped-call]  # transformers
    model.save_pretrained(directory)
    return model


def _to_mpnet(ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    shifted = torch.where(ids_BT == START, 0, torch.where(ids_BT == END, 2, ids_BT + 4))
    return torch.where(mask_BT == 1, shifted, PAD)


def test_mpnet_gives_the_vectors_of_its_own_ids(tmp_path: Path) -> None:
    original = _write_mpnet(tmp_path)
    encoder = load_encoder(tmp_path)
    encoder.eval()  # type: ignore[no-untyped-call]  # transformers
    ids_BT = torch.randint(103, NUM_WORDS, (3, 12), generator=torch.Generator().manual_seed(1))
    ids_BT[:, 0], ids_BT[:, 5] = START, END
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 8:] = 0
    mask_BT[2, 3:] = 0
    ids_BT *= mask_BT
    segments_BT = torch.zeros_like(ids_BT)
    segments_BT[:, 6:] = 1
    with torch.inference_mode():
        ours = run_encoder(encoder, ids_BT, mask_BT, segments_BT)
        theirs = original(input_ids=_to_mpnet(ids_BT, mask_BT), attention_mask=mask_BT).last_hidden_state
    real = mask_BT.bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=0.0)
    assert encoder.embeddings.word_embeddings.weight.shape[0] == NUM_WORDS


def test_the_segments_of_a_bert_encoder_count(tiny_encoder: Path) -> None:
    encoder = load_encoder(tiny_encoder)
    encoder.eval()  # type: ignore[no-untyped-call]  # transformers
    ids_BT = torch.tensor([[START, 2000, END, 2001, END]])
    with torch.inference_mode():
        vectors = [
            run_encoder(encoder, ids_BT, torch.ones_like(ids_BT), torch.tensor([segments]))
            for segments in ([0, 0, 0, 1, 1], [0] * 5)
        ]
    assert not torch.equal(*vectors)


@pytest.mark.parametrize("kind", ["mpnet", "bert"])
@pytest.mark.parametrize("num_layers", [0, 1])
def test_the_lowest_layers_keep_their_weights(tmp_path: Path, tiny_encoder: Path, kind: str, num_layers: int) -> None:
    if kind == "mpnet":
        _write_mpnet(tmp_path)
    encoder = load_encoder(tmp_path if kind == "mpnet" else tiny_encoder)
    freeze_lowest(encoder, num_layers)
    assert not encoder.embeddings.word_embeddings.weight.requires_grad
    trainable = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert any(name.startswith("embeddings.position") for name in trainable) == (num_layers == 0)
    assert any(name.startswith("encoder.layer.0.") for name in trainable) == (num_layers == 0)
    if kind == "mpnet":
        assert any(name.startswith("encoder.layer.1.") for name in trainable)


def test_an_encoder_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ValueError, match="expected an encoder of type bert or mpnet, got 'gpt2'"):
        load_encoder(tmp_path)
