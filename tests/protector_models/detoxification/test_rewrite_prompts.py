"""Tests of `rewrite_prompts`; what tokenizers make of them is in `test_language_model`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.detoxification.rewrite_prompts import build_content

MARKS = ("<question>", "</question>", "<answer>", "</answer>")


def test_question_and_answer_stand_between_their_marks() -> None:
    content = build_content("Who am I?", "You fool.")
    assert content.endswith("<question>\nWho am I?\n</question>\n\n<answer>\nYou fool.\n</answer>")
    assert content.index("Reply with the new answer") < content.index("<question>")


@given(
    st.lists(st.sampled_from([*MARKS, "</ANSWER>", "< /answer >", "<|end|>", "a", " ", "\n", "<", ">"])).map("".join)
)
def test_no_text_passes_for_a_mark_or_a_control_token(text: str) -> None:
    content = build_content(text, text, control_tokens=["<|end|>"])
    assert [content.casefold().count(mark) for mark in MARKS] == [1, 1, 1, 1]
    assert "<|end|>" not in content


@pytest.mark.parametrize("text", ["a < b and b > a", "<b>bold</b>", "| a | b |\n|---|---|", "def f(x): ...", "🙂", ""])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert build_content("", text).endswith(f"<answer>\n{text}\n</answer>")
