"""The edit model that ships, on ONNX Runtime."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protector_models.checkpoints.cards import CheckpointError
from protector_models.detoxification.detoxifier import TextEditor
from protector_models.detoxification.edit_model import SHIPPED_EDIT_MODEL, EditModel
from protector_models.moderation.model_outputs import ItemFailure

pytestmark = pytest.mark.shipped

SAFE = [
    "The capital of France is Paris. It lies on the Seine.",
    "To kill a Python process, run `kill -9 PID`; see https://example.org/kill?now=1.",
    "1. Beat the eggs.\n2. Whip the cream until it is stiff.\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    "I am sorry that you feel worthless. You are not; please talk to somebody you trust.",
]
TOXIC = [
    "You are a fucking idiot, but the capital of France is Paris.",
    "You asked that before, asshole. Let me explain the answer.",
    "shut the fuck up and listen",
    "these politicians are a bunch of morons and assholes .",
]


@pytest.fixture(scope="module")
def model() -> EditModel:
    return EditModel.load(num_threads=2)


def test_it_is_a_text_editor(model: EditModel) -> None:
    editor: TextEditor = model
    assert editor.revision.startswith("weir-edit@")


def test_safe_texts_come_back_as_they_were(model: EditModel) -> None:
    assert model.edit(SAFE) == SAFE


@pytest.mark.parametrize("text", TOXIC)
def test_toxic_words_go_and_the_rest_stays(model: EditModel, text: str) -> None:
    (edited,) = model.edit([text])
    assert isinstance(edited, str)
    assert not any(word in edited.lower() for word in ("fuck", "idiot", "stupid", "damn", "moron", "asshole"))
    assert "Paris" in edited or "Paris" not in text


def test_a_disguised_word_is_the_word_it_stands_for(model: EditModel) -> None:
    (edited,) = model.edit(["You are such a f u c k i n g ｉｄｉｏｔ, he said."])
    assert isinstance(edited, str)
    assert "ｉｄｉｏｔ" not in edited
    assert "f u c k" not in edited


def test_a_text_has_the_same_edits_whatever_it_is_edited_with(model: EditModel) -> None:
    texts = [*SAFE, *TOXIC]
    together = model.edit(texts)
    assert [model.edit([text])[0] for text in texts] == together
    assert model.edit(texts[::-1]) == together[::-1]


@pytest.mark.parametrize(
    "text", ["", " \n ", "😀🤬😀", "猫はかわいい。", "```\nint damn = shit();\n```", "|---|---|", "…", "a" * 5_000]
)
def test_what_holds_no_toxic_english_comes_back_as_it_was(model: EditModel, text: str) -> None:
    assert model.edit([text]) == [text]


def test_another_language_is_left_as_it_is(model: EditModel) -> None:
    text = "Du bist ein verdammter Idiot, aber Paris ist die Hauptstadt von Frankreich."
    assert model.edit([text]) == [text]


def test_a_long_text_is_edited_throughout(model: EditModel) -> None:
    text = "This sentence says nothing bad. " * 300 + "You are a fucking idiot. " + "Nor does this one. " * 300
    (edited,) = model.edit([text])
    assert isinstance(edited, str)
    assert "fucking" not in edited
    assert edited.startswith("This sentence says nothing bad. " * 300)
    assert edited.rstrip().endswith(("Nor does this one. " * 300).rstrip())


def test_one_text_without_a_utf8_form_fails_alone(model: EditModel) -> None:
    first, second, third = model.edit([SAFE[0], "bad \ud800", SAFE[1]])
    assert (first, third) == (SAFE[0], SAFE[1])
    assert isinstance(second, ItemFailure)
    assert second.error == "InvalidText"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=120))
def test_any_text_gets_a_value(model: EditModel, text: str) -> None:
    (edited,) = model.edit([text])
    assert isinstance(edited, str)


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    directory = Path(shutil.copytree(SHIPPED_EDIT_MODEL, tmp_path / "model"))
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        EditModel.load(directory, num_threads=1)


def test_another_way_of_reading_is_refused(tmp_path: Path) -> None:
    directory = Path(shutil.copytree(SHIPPED_EDIT_MODEL, tmp_path / "model"))
    card = json.loads((directory / "card.json").read_text())
    (directory / "card.json").write_text(json.dumps(card | {"layout": "edit-0"}))
    with pytest.raises(CheckpointError, match="edit-0"):
        EditModel.load(directory, num_threads=1)


def test_the_number_of_threads_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        EditModel.load(num_threads=0)


@pytest.mark.parametrize("before", ["```python\n" + "x = 1\n" * 80, "Run:\n\n"])
def test_code_of_any_length_is_left_as_it_is(model: EditModel, before: str) -> None:
    indent = "" if before.startswith("`") else "    "
    code = f"{before}{indent}# fucking stupid shit\n{indent}print('you stupid bitch')\n" + ("" if indent else "```\n")
    (edited,) = model.edit([code + "\nYou stupid bitch, read the manual."])
    assert isinstance(edited, str)
    assert edited.startswith(code)
    assert "bitch" not in edited.removeprefix(code)


@pytest.mark.parametrize(
    "text", ["You are a stupid idiot.", "He is an idiot.", "You are not an idiot.", "What a stupid question."]
)
def test_an_insult_does_not_become_praise_or_a_double_negation(model: EditModel, text: str) -> None:
    (edited,) = model.edit([text])
    assert isinstance(edited, str)
    assert not {"good", "smart", "great"} & set(edited.lower().rstrip(".").split())
    assert edited.lower().split().count("not") <= text.split().count("not")
