"""The languages of a text: passages in one that the harm detector was not trained on, and the one of the whole.

The detector knows English. A text is cut into passages, and each is named by `py3langid`, a naive Bayes classifier over
byte sequences: deterministic, without state, safe to call from several threads. A passage counts as foreign only where
that is sure (measurements: `docs/design/0004-what-language.md`): an answer is held back for it by default. Code, names,
lists and very short texts stay unnamed. So do languages in the letters of another (Romanised Hindi, Greeklish).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from typing import Self

from py3langid.langid import MODEL_FILE  # type: ignore[import-untyped]  # it ships no types
from py3langid.langid import LanguageIdentifier as ByteClassifier

LANGUAGE_RULES = "lang-2"
"""Name of the rules. Part of the detector's revision: other rules give other coverage."""

_NAMED_CHARACTERS = 2_000
_REMEMBERED_TEXTS = 4_096
_PASSAGE_CHARACTERS = 240
# Lines are put together until they have this many letters; a line by itself is often too short to be sure of.
_PASSAGE_LETTERS = 30
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s+")
# English, an English creole that quotes of it are taken for, and "no language", which is what code is called.
_ENGLISH = "en"
_READ = frozenset({_ENGLISH, "pcm", "zxx"})
_UNNAMED = "und"
# Words that are frequent in English and in no other language of Latin letters. A passage that has one of them every so
# many characters is English, and need not be classified: that is nine passages of ten.
_ENGLISH_WORD = re.compile(
    r"\b(?:the|and|that|with|this|you|your|they|are|would|which|from|have|their|should|because)\b", re.IGNORECASE
)
_CHARACTERS_PER_ENGLISH_WORD = 40
# Letters of other scripts than Latin, and whatever stands between them except ASCII letters.
_OTHER_LETTER = (
    "[^\\W\\d_\x00-\u02ff\u1d00-\u1dbf\u1e00-\u1eff\u2071-\u218b\u2c60-\u2c7f\ua720-\ua7ff\uab30-\uab6f\uff21-\uff5a]"
)
_ONE_OTHER_LETTER = re.compile(_OTHER_LETTER)
_OTHER_SCRIPT = re.compile(f"{_OTHER_LETTER}(?:[^A-Za-z]{{0,4}}?{_OTHER_LETTER})*+")
# Japanese mixes these in a sentence. Names of scripts are the first words of Unicode's names of their letters.
_JAPANESE_SCRIPTS = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"})
_WORD_SIGN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff\U00020000-\U0003ffff]")
# A word of another script within English is a name or an example; this many letters say something.
_MIN_OTHER_LETTERS = 8
_MIN_WORD_SIGNS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Certainty:
    """How sure the classifier must be of a passage of a length."""

    min_letters: int
    min_probability: float
    """Of the three likeliest languages together: close relatives share what would be certain of one of them."""


_CERTAINTIES = (
    _Certainty(min_letters=30, min_probability=0.7),
    _Certainty(min_letters=20, min_probability=0.9),
    _Certainty(min_letters=12, min_probability=0.98),
)
_MAX_READ_PROBABILITY = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignPassage:
    """Characters [start, end) of a text that are in a language the detector was not trained on."""

    start: int
    end: int
    language: str
    """Its ISO 639 code; "und" where only the script shows that it is not English."""


class LanguageIdentifier:
    """Finds foreign passages. Takes about 75 MB, shared by all that a process loads."""

    def __init__(self, classifier: ByteClassifier) -> None:
        self._classifier = classifier
        # A text that comes again, as those do whose verdicts are cached, is named without a look at its letters.
        self._name_head = lru_cache(maxsize=_REMEMBERED_TEXTS)(self._name_head_anew)

    @classmethod
    @cache
    def load(cls) -> Self:
        """Loads the classifier's model, which comes with its package; half a second the first time."""
        return cls(ByteClassifier.from_model_file(MODEL_FILE, norm_probs=True))

    def find_foreign(self, text: str) -> list[ForeignPassage]:
        """Returns the foreign passages of a text, in the order they begin; takes about a microsecond a character.

        A passage in another script may lie within one in another language.

        Args:
            text: in its normal form (`normal_form`), without lone surrogates: look-alikes are foreign letters.
        """
        found = [
            ForeignPassage(start=start, end=end, language=self._name(text[start:end]))
            for match in ([] if text.isascii() else _OTHER_SCRIPT.finditer(text))
            if _says_something(match[0])
            for start, end in _cut_by_script(match[0], match.start())
        ]
        rest = _blank(text, found)
        for start, end in _cut_into_passages(rest):
            language = self._name_if_sure(rest[start:end])
            if language is not None:
                found.append(ForeignPassage(start=start, end=end, language=language))
        return sorted(found, key=lambda passage: (passage.start, passage.end))

    def name_language(self, text: str) -> str | None:
        """Returns the ISO 639 code of the language that at least half of a text is in; None where that is not sure.

        Args:
            text: without lone surrogates. Of a long one the beginning is looked at.
        """
        return self._name_head(text[:_NAMED_CHARACTERS])

    def _name_head_anew(self, head: str) -> str | None:
        num_letters_by_language: Counter[str] = Counter()
        for passage in self.find_foreign(head):
            num_letters_by_language[passage.language] += _count_letters(head[passage.start : passage.end])
        num_letters = _count_letters(head)
        for language, num_own in num_letters_by_language.most_common(1):
            if num_own * 2 >= num_letters:
                return None if language == _UNNAMED else language
        return _ENGLISH if self._is_surely_english(head, num_letters) else None

    def _is_surely_english(self, text: str, num_letters: int) -> bool:
        required = _find_certainty(num_letters)
        if required is None:
            return False
        if _has_english_words(text):
            return True
        name, probability = self._classifier.rank(text)[0]
        return bool(name == _ENGLISH and probability >= required.min_probability)

    def _name(self, passage: str) -> str:
        """Names what is not English."""
        return next((name for name, _ in self._classifier.rank(passage) if name not in _READ), _UNNAMED)

    def _name_if_sure(self, passage: str) -> str | None:
        """Names a passage in Latin letters if it surely is in another language than English."""
        if _has_english_words(passage):
            return None
        required = _find_certainty(_count_letters(passage))
        if required is None:
            return None
        ranked = self._classifier.rank(passage)
        if ranked[0][0] in _READ:
            return None
        probability_read = sum(probability for name, probability in ranked if name in _READ)
        probability = sum(probability for name, probability in ranked[:3] if name not in _READ)
        is_sure = probability >= required.min_probability and probability_read <= _MAX_READ_PROBABILITY
        return ranked[0][0] if is_sure else None


def _count_letters(text: str) -> int:
    return sum(map(str.isalpha, text))


def _has_english_words(text: str) -> bool:
    return len(_ENGLISH_WORD.findall(text)) * _CHARACTERS_PER_ENGLISH_WORD >= len(text)


def _find_certainty(num_letters: int) -> _Certainty | None:
    return next((rule for rule in _CERTAINTIES if num_letters >= rule.min_letters), None)


def _says_something(run: str) -> bool:
    return _count_letters(run) >= _MIN_OTHER_LETTERS or len(_WORD_SIGN.findall(run)) >= _MIN_WORD_SIGNS


def _cut_by_script(run: str, offset: int) -> Iterator[tuple[int, int]]:
    """Cuts a run where another script begins; letters of one that say nothing by themselves stay with those before."""
    start = 0
    script: str | None = None
    for next_script, letters in groupby(_ONE_OTHER_LETTER.finditer(run), key=lambda letter: _name_script(letter[0])):
        places = [letter.start() for letter in letters]
        if next_script == script or not _says_something(run[places[0] : places[-1] + 1]):
            continue
        if script is not None:
            yield offset + start, offset + places[0]
            start = places[0]
        script = next_script
    yield offset + start, offset + len(run)


@lru_cache(maxsize=8192)
def _name_script(letter: str) -> str:
    name = unicodedata.name(letter, "").partition(" ")[0]
    return "CJK" if name in _JAPANESE_SCRIPTS else name


def _blank(text: str, passages: Sequence[ForeignPassage]) -> str:
    """Puts spaces in place of passages."""
    parts: list[str] = []
    done = 0
    for passage in passages:
        parts += (text[done : passage.start], " " * (passage.end - passage.start))
        done = passage.end
    return "".join([*parts, text[done:]])


def _cut_into_passages(text: str) -> Iterator[tuple[int, int]]:
    """Yields [start, end) of passages that make up the text: some short lines each, or some sentences of a long one."""
    start = end = num_letters = 0
    for match in _LINE.finditer(text):
        for piece_start, piece_end in _cut_line(match[0], match.start()):
            if piece_end - start > _PASSAGE_CHARACTERS and end > start:
                yield start, end
                start, num_letters = end, 0
            end = piece_end
            num_letters += sum(map(str.isalpha, text[piece_start:piece_end]))
            if num_letters >= _PASSAGE_LETTERS:
                yield start, end
                start, num_letters = end, 0
    if end > start:
        yield start, end


def _cut_line(line: str, offset: int) -> Iterator[tuple[int, int]]:
    """Cuts a line behind sentences, or else between words, into pieces of at most a passage."""
    start = 0
    for match in _SENTENCE_END.finditer(line):
        if match.end() - start >= _PASSAGE_CHARACTERS // 4:
            yield from _cut_run(line, start, match.end(), offset)
            start = match.end()
    if start < len(line):
        yield from _cut_run(line, start, len(line), offset)


def _cut_run(line: str, start: int, end: int, offset: int) -> Iterator[tuple[int, int]]:
    while end - start > _PASSAGE_CHARACTERS:
        space = line.rfind(" ", start + _PASSAGE_CHARACTERS // 2, start + _PASSAGE_CHARACTERS)
        cut = space + 1 if space >= 0 else start + _PASSAGE_CHARACTERS
        yield offset + start, offset + cut
        start = cut
    yield offset + start, offset + end
