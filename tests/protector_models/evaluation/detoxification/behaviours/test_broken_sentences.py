import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.evaluation.detoxification.behaviours.broken_sentences import find_faults

SOUND = "This fucking printer jams again, check the paper tray."


@pytest.mark.parametrize(
    ("edited", "fault"),
    [
        ("This printer jams again, check the.", "dangling article"),
        ("This printer jams the of again.", "dangling article"),
        ("Your of a printer jams.", "dangling possessive"),
        ("Check the paper tray, you.", "dangling you"),
        ("This printer jams,", "mark at the end"),
        ("This printer printer jams.", "doubled word"),
        ("This printer jams,, check it.", "doubled mark"),
        ("This printer jams , check it.", "doubled mark"),
        ("This printer jams () again.", "empty brackets"),
        ("This is an printer.", "wrong article"),
        ("What a idea.", "wrong article"),
        (", check the paper tray.", "mark in front"),
        ("This printer jams with", "small word at the end"),
        ("printer jams again, check the paper tray.", "no capital"),
        ("!!!", "no word"),
    ],
)
def test_what_a_deletion_leaves_behind_is_told(edited: str, fault: str) -> None:
    assert fault in find_faults(SOUND, edited)


@pytest.mark.parametrize(
    "edited",
    [
        "This printer jams again, check the paper tray.",
        "An hour of jams, a one-off.",
        "I like your printer, do you?",
        "A USB cable, an MRI and a unit... check it!",
    ],
)
def test_sound_sentences_have_no_fault(edited: str) -> None:
    assert find_faults(SOUND, edited) == []


@given(st.text())
def test_a_text_that_was_not_changed_has_no_fault_but_want_of_words(text: str) -> None:
    assert set(find_faults(text, text)) <= {"no word"}
