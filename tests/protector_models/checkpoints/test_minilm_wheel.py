import pytest

from protector_models.checkpoints.cards import CheckpointError
from protector_models.checkpoints.minilm_wheel import find_base_encoder


def test_the_wheel_has_the_encoder_in_hugging_face_form() -> None:
    directory = find_base_encoder()
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in directory.iterdir()}


def test_without_the_wheel_the_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protector_models.checkpoints.minilm_wheel._BASE_WHEEL", "no_such_wheel")
    with pytest.raises(CheckpointError, match='"train" or the "eval" extra'):
        find_base_encoder()
