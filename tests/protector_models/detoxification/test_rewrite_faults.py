"""Tests of `rewrite_faults`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.detoxification.rewrite_faults import find_fault, is_looping

RESPONSE = "You are a fool,  and a pest."

KINDNESS = (
    "I am sorry that this neighbour makes your evenings so loud. You could knock on a quiet day and say how it is for "
    "you, or ask the landlord which hours the house rules keep. If that changes nothing, a mediator can help."
)

LOOPS = {
    "a word": "I can help. " + "please " * 40,
    "a sentence": KINDNESS + " I can not help with that." * 12,
    "a sentence with a counter": "".join(f"{number}. Wash your hands well before you go out. " for number in range(30)),
    "a paragraph": (KINDNESS + "\n\n") * 7,
    "a paragraph that stops in the middle": ((KINDNESS + "\n\n") * 7)[:-60],
    "letters": "Oh " + "ha" * 200,
    "emoji": "Fine " + "🙂" * 100,
    "rules": "Fine " + "=" * 300 + "\n",
    "Chinese": "我不能帮助您。" * 20,
    "letters and what comes after them": "Oh " + "ha" * 70 + "!?.. \n" * 100,
    "a piece of twenty characters": "Oh " + "abcdefghijklmnopqrst" * 64,
    "rules of two kinds": "=" * 300 + "-",
}

NO_LOOPS = {
    "a kind answer": KINDNESS,
    "the kind answer twice": f"{KINDNESS}\n\n{KINDNESS}",
    "a short chorus": "No, no, no, no, no.",
    "a list": "\n".join(
        f"- Call {name} on {day}."
        for name, day in zip(
            ["Anna", "Ben", "Cleo", "Dara", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jo", "Kim", "Lou"],
            ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"] * 2,
            strict=True,
        )
    ),
    "a numbered list": "\n".join(f"{number}. Put {number * 7} g of {name} aside." for number, name in enumerate(
        ["flour", "sugar", "salt", "butter", "yeast", "milk", "oats", "rye", "nuts", "malt", "honey", "seeds"], 1
    )),
    "a table": "| town | bus | tram |\n|---|---|---|\n" + "\n".join(
        f"| {town} | yes | {tram} |"
        for town, tram in zip(
            ["Bern", "Basel", "Chur", "Genf", "Olten", "Thun", "Sion", "Zug", "Aarau", "Baden", "Brig", "Visp"],
            ["yes", "yes", "no", "yes", "no", "no"] * 2,
            strict=True,
        )
    ),
    "code": "\n".join(
        f"    def test_{name}(self) -> None:\n        assert compute({number}) == {number * number}\n"
        for number, name in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight"])
    ),
    "a heading with its rule": "Results\n" + "=" * 60 + "\nAll is well here, as far as anyone can tell.",
    "a rule and a word": "-" * 700 + "\nHave a good day",
    "a long rule and a word": "=" * 100_000 + " Total",
    "pieces that nearly repeat": ("ab" * 31 + "a") * 100 + " Total",
    "letters of which the last are others": "ha" * 300 + "hm",
    "many words": " ".join(str(number * number) for number in range(12_000)),
    "one long word": "".join(str(number * number) for number in range(12_000)),
    "spaces": "a" + " " * 100_000,
    "a piece that repeats too seldom": "Oh " + "ha" * 63,
}  # fmt: skip


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS.keys())
def test_a_text_that_goes_round_in_circles_is_looping(text: str) -> None:
    assert is_looping(text)


@pytest.mark.parametrize("text", NO_LOOPS.values(), ids=NO_LOOPS.keys())
def test_lists_tables_and_code_are_no_loops(text: str) -> None:
    assert not is_looping(text)


@given(st.text(alphabet=st.sampled_from("ab c\n.|#🙂"), max_size=200))
def test_any_text_repeated_often_enough_is_looping_or_has_no_words(text: str) -> None:
    rounds = 4 + 240 // max(1, len(text.split()))
    if any(character in text for character in "abc"):
        assert is_looping(f"{text} " * rounds)


@pytest.mark.parametrize(
    ("text", "is_cut", "error"),
    [
        ("", False, "EmptyRewrite"),
        (" \n\t", False, "EmptyRewrite"),
        ("", True, "CutRewrite"),
        (KINDNESS, True, "CutRewrite"),
        (LOOPS["a sentence"], False, "LoopingRewrite"),
        (LOOPS["a sentence"], True, "LoopingRewrite"),
        ("You are a fool,\nand a pest. ", False, "UnchangedRewrite"),
    ],
)
def test_a_fault_has_its_own_name_and_quotes_nothing(text: str, is_cut: bool, error: str) -> None:
    fault = find_fault(text, response=RESPONSE, is_cut=is_cut)
    assert fault is not None
    assert fault.error == error
    assert "help" not in fault.message
    assert "fool" not in fault.message


def test_nothing_speaks_against_a_finished_answer_that_is_new() -> None:
    assert find_fault(KINDNESS, response=RESPONSE, is_cut=False) is None
    assert find_fault("You are a fool.", response=RESPONSE, is_cut=False) is None
