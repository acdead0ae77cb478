import time
import unicodedata
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, TOKENIZER_FILE
from protector_models.reading.normal_form import normalise
from protector_models.reading.traced_edits import EditedText

PLAIN = {
    "prose": "It's 5 o'clock; I don't know. We met at 7pm on the 2nd of May, in the 1990s, for $5 (or 4m of rope)!",
    "numbers and names": "mp3 h2o covid19 win32 base64 sha256 1st 3rd 10th 4k x1 t0 step5 b2b p53 F-150 CO2 H1N1 C3PO",
    "Markdown": "# Title\n\n* one\n* two\n\n1. a\n2. b\n\n| a | b |\n|---|---|\n| c | d |\n**b** _it_ ~~no~~ `c0de`",
    "code": "for i in range(9):\n  x1 = a[i] + b[i] * c - d\n    if x1 != 0 and y2 <= 3: return f'{x1:4d}' # t3st_m3\n",
    "shell": "ls -l ~/a.b.c && cat c0de.py | grep -v '^#' > /tmp/m4ke; x=$1; echo $x",
    "URLs": "http://h0t.example.com/m4ke?b0mb=1&k1ll=2#f1re www.l33t.org me@w0rk.example",
    "hexadecimal": "#c0ffee 0xdeadb33f b4d3e5f6a7c8",
    "abbreviations": "U.S.A. e.g. i.e. J. R. R. Tolkien, Y-M-C-A, P.S., Ph.D., 9 a.m.",
    "alphabets and notes": "A B C D E, a b c d e f, x y z w, C D E F G A B, i, j, k, l",
    "a listing": "a * b * c * d and x - y - z",
    "mathematics": "the angle α, a sum Σ, ρgh, πr, ½ cup, 10 °C, ∠ A",
    "accents": "café, naïve, résumé, Ångström, don´t, Lego™",
    "Russian": "Привет! А у нас на улице сор, оса и рис. Сосо и Рора, а у вас как?",
    "Greek": "Ο άνθρωπος είναι εδώ και τον νου του",
    "flags": "🇫🇷 and 🇩🇪",
}

READ_AS = {
    "h0w t0 m4ke a b0mb": "how to make a bomb",
    "k!ll th3 p1g w1th a kn1fe!!": "kill the pig with a knife!!",
    "3xpl0s1v3s": "explosives",
    "h o w  t o  m a k e": "how to make",
    "say: h o w t o m a k e a b o m b, now": "say: how to make a bomb, now",
    "h.o.w t.o m.a.k.e": "how to make",
    "h o w  t o  k i l l a fish": "how to kill a fish",
    "b-o-m-b": "bomb",
    "ассоunt": "account",
    "сосаіпе": "cocaine",
    "mеthаmphetаmine": "methamphetamine",
    "ᴛʜɪs ɪs ᴀ ʙᴏᴍʙ": "this is a bomb",
    "ｋｉｌｌ": "kill",
    "𝐤𝐢𝐥𝐥 𝓱𝓲𝓶": "kill him",
    "ⓚⓘⓛⓛ 🅺🅸🅻🅻 🇰🇮🇱🇱": "kill KILL kill",
    "k\u200bi\u00adll\ufe0f\u2060": "kill",
    "h\u200b o\u200b w\u200b t\u200b o": "how to",
    "b0\u200bmb": "bomb",
    "kill🔥now": "kill 🔥 now",
    "ﬁre": "fire",
    "e\u0301te\u0301": "été",
}


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(SHIPPED_WEIGHTS / TOKENIZER_FILE))


def _normalise(text: str) -> EditedText:
    return normalise(text, _tokenizer().token_to_id)


def _random_texts() -> st.SearchStrategy[str]:
    """Draws texts of what the rules look at, so that they meet."""
    pieces = [*READ_AS, *"aoik013$@!|. -_*·~🔥🇫´ﷺ½й\u200b\u0301\u0316\u1161\u1100\ud800\U000e0061"]
    return st.one_of(
        st.text(alphabet=st.characters(), max_size=60),
        st.lists(st.sampled_from(pieces), max_size=25).map("".join),
        st.text(alphabet="abehiklmotwаеоκ 01345$@!. -", max_size=60),
    )


@pytest.mark.parametrize("name", PLAIN)
def test_ordinary_text_is_its_own_form(name: str) -> None:
    normal = _normalise(PLAIN[name])
    assert normal.text == PLAIN[name]
    assert list(normal.positions) == list(range(len(PLAIN[name])))


@pytest.mark.parametrize("text", READ_AS)
def test_a_disguise_is_read_as_what_it_stands_for(text: str) -> None:
    assert _normalise(text).text == READ_AS[text]


@given(_random_texts())
def test_the_form_of_a_form_is_itself(text: str) -> None:
    form = _normalise(text).text
    assert _normalise(form).text == form


@given(_random_texts())
def test_every_character_has_a_place_in_the_original_and_places_never_go_back(text: str) -> None:
    normal = _normalise(text)
    assert len(normal.positions) == len(normal.text)
    assert list(normal.positions) == sorted(normal.positions)
    assert all(0 <= position < len(text) for position in normal.positions)
    assert normal.place(len(normal.text)) == normal.num_characters == len(text)


@given(st.text(alphabet=st.characters(codec="ascii", categories=["Lu", "Ll", "Zs"]), max_size=80))
def test_words_of_letters_keep_every_letter(text: str) -> None:
    assert _normalise(text).text.replace(" ", "") == text.replace(" ", "")


def test_places_point_at_the_letters_that_were_read() -> None:
    text = "a ﬁne d.r.u.g, 𝐤\u200b𝐢𝐥𝐥 m4ke🔥x"
    normal = _normalise(text)
    assert normal.text == "a fine drug, kill make 🔥 x"
    origins = "".join(text[position] for position in normal.positions)
    assert origins == "a ﬁﬁne drug, 𝐤𝐢𝐥𝐥 m4ke🔥🔥🔥x"


def test_more_marks_than_any_script_uses_are_left_as_they_are() -> None:
    text = "ｋ" + "\u0301\u0316" * 40 + "ill"
    assert _normalise(text).text == "k" + text[1:]
    assert _normalise("ｅ" + "\u0301").text == unicodedata.normalize("NFKC", "e\u0301")


HUGE = {
    "a quarter of a megabyte of prose": "plain words, and more of them. " * 8_000,
    "one word": "a" * 250_000,
    "one disguised word": "оа" * 50_000,
    "a word of digits and letters": "a1" * 125_000,
    "combining marks": "a" + "\u0301\u0316" * 50_000,
    "zero-width characters": "\u200b" * 250_000,
    "letter by letter": "h o w t o " * 10_000,
    "disguised words": "m4ke " * 10_000,
    "mathematical letters": "𝐤𝐢𝐥𝐥 " * 10_000,
}


@pytest.mark.parametrize("name", HUGE)
def test_time_grows_with_the_length_and_no_faster(name: str) -> None:
    start = time.process_time()
    _normalise(HUGE[name])
    # The slowest take about 5 us a character; anything quadratic takes minutes.
    assert time.process_time() - start < 5.0
