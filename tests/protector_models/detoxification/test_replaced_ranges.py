"""Other texts in place of ranges: what goes takes its gap along, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.detoxification.replaced_ranges import replace_ranges


def _without(text: str, *gone: str) -> str:
    places = [(text.index(one), text.index(one) + len(one)) for one in gone]
    return replace_ranges(text, places, [""] * len(gone))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there. GONE!\n\n- item one", "Hello there.\n\n- item one"),
        ("Hello. GONE! Bye.", "Hello. Bye."),
        ("GONE! Bye.", "Bye."),
        ("Hello, GONE!", "Hello,"),
        ("(GONE! Bye.)", "( Bye.)"),
        ("one\n  GONE!\n    - two", "one\n    - two"),
        ("one\r\nGONE!\r\n\r\n  two", "one\r\n\r\n  two"),
        ("GONE!\n\n    code", "\n    code"),
        ("one.\n\nGONE!", "one.\n\n"),
        ("  GONE! two", "  two"),
        ("a hard break GONE!  \nnext", "a hard break  \nnext"),
        ("| GONE! | two |", "| | two |"),
        ("GONE!", ""),
    ],
)
def test_a_range_that_goes_takes_its_gap_or_its_line_and_no_paragraph_or_indentation(text: str, expected: str) -> None:
    assert _without(text, "GONE!") == expected


def test_neighbours_that_go_leave_no_gap() -> None:
    assert _without("One. TWO. THREE. Four.", "TWO.", "THREE.") == "One. Four."
    assert _without("One.\nTWO. THREE.\nFour.", "TWO.", "THREE.") == "One.\nFour."
    assert _without("One.\nTWO.\n  THREE.\nFour.", "TWO.\n  THREE.") == "One.\nFour."


lines = st.lists(st.sampled_from(["", "  ", "word", "    indented word", "- item one", "\tone. two. "]), max_size=5)


@given(lines, st.sampled_from(["", "  ", "- ", "a "]), st.sampled_from(["", " ", " b", "  b"]), lines)
def test_no_other_line_is_changed(before: list[str], ahead: str, behind: str, after: list[str]) -> None:
    changed = _without("\n".join([*before, f"{ahead}GONE!{behind}", *after]), "GONE!").split("\n")
    assert changed[: len(before)] == before
    assert changed[len(changed) - len(after) :] == after
    own = changed[len(before) : len(changed) - len(after)]
    assert [word for line in own for word in line.split()] == f"{ahead} {behind}".split()


@given(st.text(max_size=40), st.sets(st.integers(0, 40), max_size=6), st.sampled_from([None, "other"]))
def test_ranges_that_stay_or_are_replaced_leave_the_rest_as_it_was(
    text: str, limits: set[int], replacement: str | None
) -> None:
    inside = sorted(limit for limit in limits if limit <= len(text))
    places = list(zip(inside[::2], inside[1::2], strict=False))
    expected, done = "", 0
    for start, end in places:
        expected += text[done:start] + (text[start:end] if replacement is None else replacement)
        done = end
    replacements = [text[start:end] if replacement is None else replacement for start, end in places]
    assert replace_ranges(text, places, replacements) == expected + text[done:]
