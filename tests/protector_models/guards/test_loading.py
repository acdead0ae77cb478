"""Guards that cannot be loaded, and errors that say why."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from protector_models.checkpoints.cards import CARD_FILE
from protector_models.checkpoints.model_folders import ADAPTER_FILES
from protector_models.checkpoints.trained_adapters import AdapterCard
from protector_models.guards.detector import GuardDetector
from protector_models.guards.loading import load_guard
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.settings import DetectorSettings
from protector_models.tiny_checkpoints.guards import TEMPLATE_FILE, configure_guard, write_guard
from protector_models.tiny_checkpoints.vocabulary import CHAT_TEMPLATE
from tests.protector_models.transformer_models.tiny_language_models import write_causal_model, write_sequence_model

pytestmark = pytest.mark.training


def settings(directory: Path, **fields: Any) -> DetectorSettings:
    return DetectorSettings.model_validate(
        {"kind": "transformers", "description": "llama-guard-3", "model": str(directory), **fields}
    )


def refuse(chosen: DetectorSettings, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        load_guard(chosen, num_threads=1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model whose tokenizer has a chat template of turns."""
    return write_causal_model(tmp_path_factory.mktemp("plain"), chat_template=CHAT_TEMPLATE)


def test_any_causal_model_with_a_chat_template_is_taken(plain: Path) -> None:
    loaded = load_guard(settings(plain, max_input_tokens=900), num_threads=1)
    assert loaded.revision.startswith(f"{plain.name}@")
    assert loaded.tokens_per_run == 1
    assert 0 < loaded.room < 900


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    refuse(settings(write_causal_model(tmp_path / "model"), max_input_tokens=900), "has no chat template")


def test_a_model_that_is_not_causal_is_refused(tmp_path: Path) -> None:
    refuse(settings(write_sequence_model(tmp_path / "model")), "expected a causal language model")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_input_tokens": 1_000}, "max_input_tokens: 1000, and 64 of the answer: expected at most the 1024"),
        ({}, "max_input_tokens: 4096, and 64"),
        ({"max_input_tokens": 16}, "max_input_tokens: 16; expected at least"),
        ({"description": "wildguard"}, "detector.template: description 'wildguard' holds no prompt"),
        ({"description": "one-logit-classifier"}, "expected one of a generative guard, got a classifier"),
        ({"description": "llama-guard-9"}, "expected a file ending in .yaml, or one of"),
        ({"template": "prompt.txt"}, "expected none: description 'llama-guard-3' uses the chat template"),
        ({"model": "/none"}, "no such folder"),
        ({"adapter": "/none"}, "no such folder"),
        ({"device": "cuda"}, "finds no GPU here"),
    ],
)
def test_parts_that_do_not_fit_are_refused(plain: Path, fields: dict[str, Any], expected: str) -> None:
    refuse(settings(plain, **{"max_input_tokens": 900, **fields} if fields else {}), expected)


def test_a_chat_template_that_fails_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    directory = write_guard("shieldgemma", tmp_path / "guard", num_steps=0)
    # Its template asks for a guideline, which this description does not give.
    refuse(settings(directory, max_input_tokens=900), "its chat template fails")


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{% for each in messages if each.role == 'user' %}{{ each.content }}{% endfor %}", "response"),
        ("Who? {{ messages[-1].content if messages | length > 1 }}", "prompt"),
    ],
)
def test_a_chat_template_that_shows_only_a_part_is_refused(tmp_path: Path, template: str, part: str) -> None:
    directory = write_causal_model(tmp_path / "model", chat_template=template)
    refuse(settings(directory, max_input_tokens=900), f"its chat template leaves the {part} out")


def test_an_adapter_that_was_trained_on_another_base_is_refused(plain: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"])
    get_peft_model(AutoModelForCausalLM.from_pretrained(plain), config).save_pretrained(str(adapter))
    card = AdapterCard(
        name="mine",
        files={ADAPTER_FILES[1]: hashlib.sha256((adapter / ADAPTER_FILES[1]).read_bytes()).hexdigest()},
        recipe={},
        validation={},
        layout="x",
        base="another",
        base_digest="0" * 12,
    )
    (adapter / CARD_FILE).write_text(card.model_dump_json())
    refuse(settings(plain, adapter=str(adapter), max_input_tokens=900), "trained on the base 'another'")


def test_words_that_the_tokenizer_does_not_know_count_as_not_read(plain: Path) -> None:
    guard = GuardDetector.load(settings(plain, max_input_tokens=900), num_threads=1)
    asked = guard._asking.ask(Exchange(prompt="Who?", response="You, ⵣⵣⵣ you."))
    assert asked.coverage.characters_total - asked.coverage.characters_evaluated == 3


def test_a_template_file_goes_into_the_revision(tmp_path: Path) -> None:
    directory = write_guard("wildguard", tmp_path / "guard", num_steps=0)
    chosen = DetectorSettings.model_validate(configure_guard("wildguard", directory))
    before = load_guard(chosen, num_threads=1).revision
    other = tmp_path / "other.txt"
    other.write_text(f"Please: {(directory / TEMPLATE_FILE).read_text()}")
    assert load_guard(chosen.model_copy(update={"template": other}), num_threads=1).revision != before
