"""Whether text that was found was understood."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from protector_models.images.legibility import FoundText, is_understood


def found(
    text: str = "fourteen signs", *, confidence: float = 0.97, certainty: float = 0.8, length: float = 7.0
) -> FoundText:
    """Build a line of text that is read well."""
    return FoundText(text=text, confidence=confidence, certainty=certainty, length=length)


DEBRIS = found("CerOH xOpoWa", confidence=0.8)
NOTHING = found("", confidence=0.0)

pieces = st.lists(
    st.builds(
        FoundText,
        text=st.text(max_size=9),
        confidence=st.floats(0, 1),
        certainty=st.floats(0, 1),
        length=st.floats(0.01, 30),
    ),
    max_size=9,
)


def test_a_picture_without_text_was_read() -> None:
    assert is_understood([])


def test_lines_that_are_read_well_are_understood_and_debris_and_nothing_are_not() -> None:
    assert is_understood([found()])
    assert not is_understood([DEBRIS])
    assert not is_understood([NOTHING])


def test_a_line_of_debris_among_others_does_not_make_a_picture_unread_and_as_many_do() -> None:
    assert is_understood([found(), found(), DEBRIS])
    assert not is_understood([found(), DEBRIS])


def test_two_letters_that_are_read_with_confidence_do_not_stand_for_a_whole_line() -> None:
    assert not is_understood([found("電車", length=10.0)])
    assert is_understood([found("電車", length=2.2)])


def test_words_as_small_cyrillic_letters_look_need_more_confidence() -> None:
    assert not is_understood([found("KaK nepeBecTИ cTpoky", confidence=0.91)])
    assert is_understood([found("getItem getName isOpen", confidence=0.97)])


def test_what_the_finder_itself_doubts_or_is_as_short_as_a_drawing_is_no_text() -> None:
    assert is_understood([found("", confidence=0.0, certainty=0.55)])
    assert is_understood([found("1", confidence=0.3, length=1.1)])


@given(pieces, st.randoms(use_true_random=False))
def test_the_order_of_the_pieces_does_not_matter_and_more_debris_never_helps(
    found_text: list[FoundText], random: Random
) -> None:
    shuffled = random.sample(found_text, len(found_text))

    assert is_understood(shuffled) == is_understood(found_text)
    if not is_understood(found_text):
        assert not is_understood([*found_text, DEBRIS])
