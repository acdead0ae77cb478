import base64
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.evaluation.detector.perturbations import PERTURBATIONS, perturb

SENTENCE = "Steal the car, then sell it somewhere quiet before 9 and tell nobody about any of this."
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
ASCII = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60)


@pytest.mark.parametrize("name", PERTURBATIONS)
@given(text=TEXTS)
def test_any_text_comes_out_the_same_in_every_run_and_has_a_utf_8_form(name: str, text: str) -> None:
    found = perturb(name, text, "set/1")
    assert found == perturb(name, text, "set/1")
    assert found.encode().decode() == found


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_each_changes_a_sentence_and_leaves_nothing_as_it_is(name: str) -> None:
    assert perturb(name, SENTENCE, "set/1") != SENTENCE
    assert perturb(name, "", "set/1") == ""


@pytest.mark.parametrize("name", ["zero_width", "accents", "typos"])
def test_records_draw_differently(name: str) -> None:
    assert len({perturb(name, SENTENCE, f"set/{index}") for index in range(10)}) > 5


@pytest.mark.parametrize("name", ["fullwidth", "bold"])
@given(text=ASCII)
def test_compatibility_normalisation_undoes_letters_of_other_shapes(name: str, text: str) -> None:
    assert unicodedata.normalize("NFKC", perturb(name, text, "set/1")) == text


@given(text=ASCII)
def test_without_the_invisible_characters_the_text_is_back(text: str) -> None:
    assert re.sub("[\u200b\u200c\u200d\u2060\u00ad]", "", perturb("zero_width", text, "set/1")) == text


@given(text=ASCII)
def test_without_the_marks_the_text_is_back(text: str) -> None:
    decomposed = unicodedata.normalize("NFD", perturb("accents", text, "set/1"))
    assert "".join(character for character in decomposed if not unicodedata.combining(character)) == text


@given(text=TEXTS)
def test_what_is_encoded_or_reversed_can_be_read_back(text: str) -> None:
    assert base64.b64decode(perturb("base64", text, "set/1")).decode() == text
    assert perturb("reversed", perturb("reversed", text, "set/1"), "set/1") == text
    assert perturb("reversed_words", text, "set/1").split() == text.split()[::-1]


@pytest.mark.parametrize("name", ["confusables", "leetspeak"])
@given(text=TEXTS)
def test_replaced_letters_stand_where_the_letters_stood(name: str, text: str) -> None:
    assert len(perturb(name, text, "set/1")) == len(text)


def test_confusables_leave_no_latin_vowel_but_u() -> None:
    assert set(perturb("confusables", SENTENCE, "set/1")) & set("aeio") == set()


def test_spaced_letters_keep_their_words_apart() -> None:
    assert perturb("letter_spacing", "how to harm", "set/1") == "h o w   t o   h a r m"


def test_typos_keep_the_ends_of_words_and_the_short_words() -> None:
    words, mistyped = (text.split() for text in (SENTENCE, perturb("typos", SENTENCE, "set/3")))
    changed = [(word, found) for word, found in zip(words, mistyped, strict=True) if word != found]
    assert changed
    assert all(len(word.strip(".,")) >= 4 for word, _ in changed)
    assert all((word[0], word[-1]) == (found[0], found[-1]) for word, found in changed)
