import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.detoxification.tagged_words import (
    DELETE,
    KEEP,
    append_tag,
    apply_tags,
    plain_form,
    replace_tag,
    split_words,
)

TEXTS = st.text(alphabet=st.sampled_from("ab AN'.,!*-`\n\té😀猫\u200b#|"), max_size=60) | st.text(max_size=40)


def edit(text: str, **tags: str) -> str:
    """Tags the words that are named."""
    words = split_words(text)
    return apply_tags(text, words, [tags.get(text[word.start : word.end], KEEP) for word in words])


@given(TEXTS)
def test_words_hold_everything_but_white_space(text: str) -> None:
    words = split_words(text)
    ends = [0, *(word.end for word in words)]
    gaps = [text[end : word.start] for end, word in zip(ends, words, strict=False)]
    assert all(word.start < word.end for word in words)
    assert not "".join([*gaps, text[ends[-1] :]]).strip()


@given(TEXTS)
def test_a_text_whose_words_are_all_kept_is_the_text(text: str) -> None:
    words = split_words(text)
    assert apply_tags(text, words, [KEEP] * len(words)) is text


@given(TEXTS, st.data())
def test_words_that_are_kept_stay_in_order_with_their_letters(text: str, data: st.DataObject) -> None:
    words = split_words(text)
    tags = data.draw(st.lists(st.sampled_from([KEEP, DELETE]), min_size=len(words), max_size=len(words)))
    kept = [text[word.start : word.end] for word, tag in zip(words, tags, strict=True) if tag == KEEP]
    edited = "".join(apply_tags(text, words, tags).split()).lower()
    position = 0
    for word in kept:
        letters = "".join(word.split()).lower()
        if letters in {",", ";", ":", "-", "–", "—", "a", "an"}:  # idle separators go, articles agree
            continue
        position = edited.find(letters, position)
        assert position >= 0, (word, edited)
        position += len(letters)


@given(TEXTS)
def test_nothing_is_left_of_a_text_whose_words_all_go(text: str) -> None:
    words = split_words(text)
    if words:
        assert apply_tags(text, words, [DELETE] * len(words)) == ""


@pytest.mark.parametrize(
    "text",
    [
        "see https://a.b/damn?x=1 now",
        "write to damn@site.org",
        "run `damn --force` first",
        "```\ndamn()\n```",
        "<b damn>",
    ],
)
def test_links_addresses_and_code_are_fixed(text: str) -> None:
    (word,) = (word for word in split_words(text) if "damn" in text[word.start : word.end])
    assert word.is_fixed


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("- a - b", "-"),
        ("## Title", "##"),
        ("> quoted", ">"),
        ("* item", "*"),
        ("| a | b |", "|||"),
        ("-1", ""),
        ("# a", "#"),
    ],
)
def test_marks_of_lists_headings_and_tables_are_fixed(text: str, marks: str) -> None:
    assert "".join(text[word.start : word.end] for word in split_words(text) if word.is_fixed) == marks


@pytest.mark.parametrize("text", ["f**k", "sh!t", "a$s", "don't", "don ’t", "it's"])
def test_signs_within_a_word_and_torn_contractions_belong_to_it(text: str) -> None:
    assert len(split_words(text)) == 1


def test_the_plain_form_has_neither_case_nor_spaces_nor_curly_apostrophes() -> None:
    assert plain_form("Don ’T") == "don't"


@pytest.mark.parametrize(
    ("text", "tags", "expected"),
    [
        ("You are a fucking idiot.", {"fucking": DELETE}, "You are an idiot."),
        ("Idiot, listen to me.", {"Idiot": DELETE}, "Listen to me."),
        ("well , idiot , go away .", {"idiot": DELETE}, "well , go away ."),
        ("  This   is a damn  apple. ", {"damn": DELETE}, "  This   is an  apple. "),
        ("SHUT UP", {"SHUT": replace_tag(["be"]), "UP": replace_tag(["quiet"])}, "BE QUIET"),
        ("Morons think so.", {"Morons": replace_tag(["people"])}, "People think so."),
        ("they care", {"they": append_tag(["do", "not"])}, "they do not care"),
        ("An awful book", {"awful": DELETE}, "A book"),
        ("| a | damn b |\n|---|---|", {"damn": DELETE}, "| a | b |\n|---|---|"),
        ("shit\nhappens", {"shit": DELETE}, "happens"),
        ("a damn hour", {"damn": DELETE}, "an hour"),
        ("an awful user", {"awful": DELETE}, "a user"),
        ("an hour of damn work", {"damn": DELETE}, "an hour of work"),
    ],
)
def test_edits_read_as_if_written_so(text: str, tags: dict[str, str], expected: str) -> None:
    assert edit(text, **tags) == expected
