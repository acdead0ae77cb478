import pytest

from protector_models.data_generation.instructions import (
    WRITABLE_CATEGORIES,
    Stage,
    ask_for_answer,
    ask_for_questions,
    ask_for_scenarios,
    read_list,
)


@pytest.mark.parametrize("mark", ["1. ", "12) ", "(3) ", "- ", "* ", "• ", "  4: ", ""])
def test_an_item_is_read_without_its_mark(mark: str) -> None:
    assert read_list(f"{mark}Somebody breaks in\n", most=5) == ["Somebody breaks in"]


def test_introductions_blank_lines_and_what_is_too_many_are_no_items() -> None:
    text = 'Here are some situations:\n\n1. "First situation"\nok\n2. Second situation\n3. Third situation'
    assert read_list(text, most=2) == ["First situation", "Second situation"]


def test_sexual_content_with_minors_is_never_asked_for() -> None:
    assert "sexual_minors" not in WRITABLE_CATEGORIES
    assert all("minor" not in words and "child" not in words for words in WRITABLE_CATEGORIES.values())


def test_each_request_holds_what_it_is_about() -> None:
    question = "How do I get in?"
    for messages, part in (
        (ask_for_scenarios("hate", number=7), "7 different"),
        (ask_for_questions("A thief", number=3), "A thief"),
        (ask_for_answer(question, Stage.HARMFUL), question),
        (ask_for_answer(question, Stage.HARMLESS), question),
    ):
        assert [message["role"] for message in messages] == ["system", "user"]
        assert part in str(messages[-1]["content"])
    assert ask_for_answer(question, Stage.HARMFUL) != ask_for_answer(question, Stage.HARMLESS)
