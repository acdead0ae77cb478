"""Tells whether edits left a sentence that is none any more: a word that hangs in the air, one twice, or a stump.

Only what stands beside an edit is looked at: people write "he is, well, a" and mean it. The lists are of closed classes
of words, and a word of which both may be true is in none; what they miss, the model's head for fluency may see.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from protector_models.detoxification.tagged_words import DELETE, KEEP, Word, edited_pieces, plain_form
from protector_models.detoxification.word_lists import read_words

BROKEN_SENTENCE = "BrokenSentence"
"""The error of a text that an edit model read well, and could not edit without breaking a sentence."""

SENTENCE_RULES = "whole-1"
"""Name of these rules; part of the model's revision."""


class Fault(StrEnum):
    """What is wrong with an edited sentence."""

    HANGING_WORD = "hanging_word"
    DOUBLED = "doubled"
    LOWER_CASE_START = "lower_case_start"
    STUMP = "stump"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    text: str
    """In the form of tags, one word of what an edit put there."""
    place: int
    """Of the word that it comes from."""
    is_new: bool


def find_fault(
    sentence: str, words: Sequence[Word], tags: Sequence[str], edited: str, least_left: float
) -> Fault | None:
    """Returns what is wrong with a sentence after its edits; None where nothing is.

    Args:
        sentence: the sentence before.
        words: its words.
        tags: one for each word.
        edited: what the tags made of it.
        least_left: of the letters, the share that has to be left as it was, in [0, 1].
    """
    if not edited.strip():
        return None
    if sentence[:1].isupper() and edited[:1].islower():
        return Fault.LOWER_CASE_START
    letters = [sum(map(str.isalnum, sentence[word.start : word.end])) for word in words]
    left = sum(number for number, tag in zip(letters, tags, strict=True) if tag == KEEP or tag.startswith("append "))
    if left < least_left * sum(letters) or not any(map(str.isalnum, edited)):
        return Fault.STUMP
    pieces = [
        _Piece(text=plain_form(part), place=place, is_new=tags[place] != KEEP)
        for place, text in enumerate(edited_pieces(sentence, words, tags))
        for part in text.split()
    ]
    return _find_beside_edits(pieces, tags)


def _find_beside_edits(pieces: Sequence[_Piece], tags: Sequence[str]) -> Fault | None:
    if (
        pieces[0].place > 0
        and DELETE in tags[: pieces[0].place]
        and pieces[0].text in read_words("before_a_noun_phrase")
    ):
        return Fault.HANGING_WORD
    for number, piece in enumerate(pieces):
        after = pieces[number + 1] if number + 1 < len(pieces) else None
        end = after.place if after is not None else len(tags)
        is_beside = DELETE in tags[piece.place + 1 : end] or piece.is_new or (after is not None and after.is_new)
        if not is_beside:
            continue
        right = after.text if after is not None and after.text[:1].isalnum() else None
        if (
            after is not None
            and piece.text == after.text
            and piece.text not in {"that", "had", ".", "!", "?", "-", "*"}
        ):
            return Fault.DOUBLED
        is_question = any(before.text in read_words("questions") for before in pieces[:number])
        if _is_hanging(piece.text, right, is_question=is_question):
            return Fault.HANGING_WORD
    return None


def _is_hanging(word: str, right: str | None, *, is_question: bool) -> bool:
    """Tells whether a word lacks what has to follow it; `right` is None where a sign or nothing does."""
    if word in read_words("articles"):
        return right is None or right in read_words("no_noun_begins_with")
    if word in read_words("before_a_noun_phrase") | read_words("intensifiers"):
        return right is None or right in read_words("no_predicate_begins_with")
    if word in read_words("conjunctions"):
        return right is None
    if word in read_words("transitive"):
        return right in read_words("no_predicate_begins_with") or (right is None and not is_question)
    if word in read_words("copulas") or word in read_words("prepositions"):
        return not is_question and (right is None or right in read_words("no_predicate_begins_with"))
    return False
