import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.reading.languages import LanguageIdentifier

FOREIGN = {
    "de": "Mische das Mehl mit dem Wasser und lass den Teig eine Stunde ruhen.",
    "fr": "Mélangez la farine et l'eau, puis laissez reposer la pâte une heure.",
    "es": "Mezcla la harina con el agua y deja reposar la masa durante una hora.",
    "it": "Mescola la farina con l'acqua e lascia riposare l'impasto per un'ora.",
    "pt": "Misture a farinha com a água e deixe a massa descansar uma hora.",
    "nl": "Meng de bloem met het water en laat het deeg een uur rusten.",
    "pl": "Wymieszaj mąkę z wodą i odstaw ciasto na godzinę.",
    "tr": "Unu suyla karıştır ve hamuru bir saat dinlendir.",
    "vi": "Trộn bột với nước rồi để bột nghỉ một tiếng.",
    "id": "Campurkan tepung dengan air lalu diamkan adonan selama satu jam.",
    "ru": "Смешайте муку с водой и оставьте тесто на час.",
    "el": "Ανακατέψτε το αλεύρι με το νερό και αφήστε τη ζύμη μία ώρα.",
    "ar": "اخلط الدقيق بالماء واترك العجين لمدة ساعة.",
    "he": "מערבבים את הקמח עם המים ונותנים לבצק לנוח שעה.",
    "hi": "आटे को पानी में मिलाएँ और एक घंटे के लिए छोड़ दें।",
    "th": "ผสมแป้งกับน้ำแล้วพักไว้หนึ่งชั่วโมง",
    "zh": "把面粉和水混合，静置一小时。",
    "ja": "小麦粉と水を混ぜて、一時間休ませてください。",
    "ko": "밀가루와 물을 섞고 한 시간 동안 두세요.",
}

ENGLISH = {
    "an answer": "Mix the flour with the water, and let the dough rest for an hour. It should double in size.",
    "a refusal": "I'm sorry, but I can't help with that.",
    "short chat": "lol ok",
    "shouting": "WHAT ARE YOU DOING HERE???",
    "one word": "Sure!",
    "a greeting in another language": "Hola amigo",
    "names": "Giuseppe Verdi, Wolfgang Amadeus Mozart and Jean-Philippe Rameau wrote operas.",
    "a word of Russian": "Спасибо means thank you in Russian.",
    "mathematics": "∀ε>0 ∃δ>0: |x−a|<δ ⇒ |f(x)−f(a)|<ε, and Σ αᵢβᵢ = γ",
    "code": "def fibonacci(n):\n    if n <= 1:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n",
    "a list": "1. Tokyo\n2. Berlin\n3. Buenos Aires\n4. São Paulo\n",
    "numbers": "12 34 56 78 90",
    "base64": "SGVsbG8gd29ybGQsIHRoaXMgaXMgYSB0ZXN0IG9mIGJhc2U2NC4=",
    "nothing": "",
}


@pytest.fixture(scope="module")
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier.load()


@pytest.mark.parametrize("language", FOREIGN)
def test_a_sentence_of_another_language_is_found_by_itself_and_among_english(
    identifier: LanguageIdentifier, language: str
) -> None:
    text = FOREIGN[language]
    (passage,) = identifier.find_foreign(text)
    assert passage.language == language
    around = f"Here is how you make the bread that you asked me about.\n{text}\nPlease tell me when you have tried it."
    found = identifier.find_foreign(around)
    assert {passage.language for passage in found} == {language}
    num_found = sum(passage.end - passage.start for passage in found)
    assert 0.9 * len(text) <= num_found <= len(text) + 2
    assert all(around[passage.start : passage.end].strip() in text for passage in found)


@pytest.mark.parametrize(
    "languages", [("zh", "ru"), ("ru", "zh"), ("ja", "ko"), ("el", "ru", "he"), ("th", "zh", "ar"), ("zh", "zh")]
)
def test_neighbours_in_other_scripts_are_named_each(identifier: LanguageIdentifier, languages: tuple[str, ...]) -> None:
    text = " ".join(FOREIGN[language] for language in languages)
    found = identifier.find_foreign(text)
    assert {passage.language for passage in found} == set(languages)
    assert "".join(text[passage.start : passage.end] for passage in found).replace(" ", "") in text.replace(" ", "")


def test_a_short_sentence_is_named_beside_one_in_another_script(identifier: LanguageIdentifier) -> None:
    found = identifier.find_foreign("你应该偷窃并毁灭证据. Привет, как дела сегодня")
    assert [passage.language for passage in found] == ["zh", "ru"]


@pytest.mark.parametrize(
    "text", ["用α和β来表示这两个变量的平均值", "你Я好Ж吗Я我Ж很Я好Ж谢Я谢", "小麦粉とバターを混ぜてください"]
)
def test_letters_too_few_to_be_named_stay_in_the_passage_around_them(identifier: LanguageIdentifier, text: str) -> None:
    (passage,) = identifier.find_foreign(text)
    assert (passage.start, passage.end) == (0, len(text))


@pytest.mark.parametrize("name", ENGLISH)
def test_english_code_and_what_is_too_short_to_tell_are_left_alone(identifier: LanguageIdentifier, name: str) -> None:
    assert identifier.find_foreign(ENGLISH[name]) == []


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=400))
def test_passages_lie_in_the_text_in_order(text: str) -> None:
    reached = 0
    for passage in LanguageIdentifier.load().find_foreign(text):
        assert reached <= passage.start < passage.end <= len(text)
        reached = passage.start


def test_answers_do_not_depend_on_what_runs_beside_them(identifier: LanguageIdentifier) -> None:
    texts = [*FOREIGN.values(), *ENGLISH.values()] * 3
    random.Random(1).shuffle(texts)
    expected = [identifier.find_foreign(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(identifier.find_foreign, texts)) == expected


@pytest.mark.parametrize(
    "text", ["word " * 10_000, "a" * 50_000, "Ж" * 50_000, "a\n" * 25_000, "жa" * 25_000, "жж你" * 15_000]
)
def test_time_grows_with_the_length_and_no_faster(identifier: LanguageIdentifier, text: str) -> None:
    start = time.process_time()
    identifier.find_foreign(text)
    # About 1 us a character; anything quadratic takes a minute.
    assert time.process_time() - start < 3.0


@pytest.mark.parametrize("language", [code for code in FOREIGN if code not in {"zh", "ja"}])
def test_a_text_is_named_by_the_language_that_most_of_it_is_in(language: str) -> None:
    identifier = LanguageIdentifier.load()
    assert identifier.name_language(FOREIGN[language]) == language
    assert identifier.name_language(f"Hi! {FOREIGN[language]} Ok?") == language


def test_english_is_named_where_it_is_sure_and_nothing_is_said_of_what_is_not() -> None:
    identifier = LanguageIdentifier.load()
    assert identifier.name_language(ENGLISH["an answer"]) == "en"
    assert identifier.name_language(f"{ENGLISH['an answer']} {ENGLISH['an answer']} {FOREIGN['de']}") == "en"
    assert [identifier.name_language(text) for text in ("", "ok", "🔥🔥🔥", "x = y[0]; y = x", "a" * 100_000)] == [
        None
    ] * 5
