"""A language model that goes on with texts, as a tiny one of random weights."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from protector_models.mllms.base_language_model import BaseLanguageModel, unpack_gguf
from protector_models.mllms.mllm import TransformersMllm
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.one_turn import make_turn
from protector_models.tiny_checkpoints.vocabulary import NUM_PIECES, write_tokenizer

pytestmark = pytest.mark.training

EVENT = make_turn("How do I get home?", None, event_id="e")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> BaseLanguageModel:
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = write_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=max(NUM_PIECES, len(tokenizer)),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return BaseLanguageModel.load(folder, revision="tiny@0", num_threads=1)


def test_the_pieces_are_the_answer_and_the_same_conversation_has_the_same(model: BaseLanguageModel) -> None:
    pieces: list[str] = []
    model.stream(EVENT, emit=pieces.append, is_wanted=lambda: True)
    [(place, answer)] = model.answer([EVENT], is_wanted=lambda: True)
    assert (place, answer) == (0, "".join(pieces))
    assert len(pieces) > 1
    assert "\n" not in "".join(pieces)
    [(_, other)] = model.answer([make_turn("And then?", None, event_id="e")], is_wanted=lambda: True)
    assert other != answer


async def test_it_is_read_along_as_any_mllm_is(model: BaseLanguageModel) -> None:
    mllm = TransformersMllm(model, deadline_s=60)
    try:
        stream = mllm.stream(EVENT)
        assert await anext(stream)
        await stream.aclose()
        assert mllm.revision == "tiny@0"
    finally:
        await mllm.close()


def test_writing_ends_once_nobody_waits(model: BaseLanguageModel) -> None:
    pieces: list[str] = []
    model.stream(EVENT, emit=pieces.append, is_wanted=lambda: len(pieces) < 2)
    assert len(pieces) <= 3


def test_what_is_no_model_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF, but not really")
    with pytest.raises(ConfigurationError, match="expected a language model in GGUF"):
        unpack_gguf(tmp_path / "model.gguf", tmp_path / "unpacked")
    with pytest.raises(ConfigurationError, match="expected a language model"):
        BaseLanguageModel.load(tmp_path, revision="r", num_threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
