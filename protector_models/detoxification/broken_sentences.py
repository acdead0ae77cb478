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

SENTENCE_RULES = "whole-2"
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
    if _is_address([piece.text for piece in pieces], num_before=sum(1 for number in letters if number)):
        return Fault.STUMP
    return _find_beside_edits(pieces, tags)


def _is_address(parts: Sequence[str], *, num_before: int) -> bool:
    """Tells whether no more is left of a sentence than one word, or somebody who is addressed ("you fat")."""
    left = [part for part in parts if part[:1].isalnum()]
    if len(left) == 1:
        return num_before > 2
    if len(left) > 3:
        return False
    return (left[0] == "you" and left[1] not in read_words("after_you")) or left[:2] == ["go", "yourself"]


def _find_beside_edits(pieces: Sequence[_Piece], tags: Sequence[str]) -> Fault | None:
    if pieces[0].place > 0 and DELETE in tags[: pieces[0].place] and pieces[0].text in {"of", "than", "sake"}:
        return Fault.HANGING_WORD
    for number, piece in enumerate(pieces):
        after = pieces[number + 1] if number + 1 < len(pieces) else None
        end = after.place if after is not None else len(tags)
        is_beside = DELETE in tags[piece.place + 1 : end] or piece.is_new or (after is not None and after.is_new)
        if not is_beside:
            continue
        if (
            after is not None
            and piece.text == after.text
            and piece.text not in {"that", "had", ".", "!", "?", "-", "*"}
        ):
            return Fault.DOUBLED
        if _is_hanging(
            piece,
            after.text if after is not None and after.text[:1].isalnum() else None,
            before=[earlier.text for earlier in pieces[:number]],
        ):
            return Fault.HANGING_WORD
    return None


def _is_hanging(piece: _Piece, right: str | None, *, before: Sequence[str]) -> bool:
    """Tells whether a word lacks what has to follow it; `right` is None where a sign or nothing does."""
    word, left = piece.text, before[-1] if before else ""
    is_question = not read_words("questions").isdisjoint(before)
    ends = right is None or right in read_words("no_predicate_begins_with")
    before_a_noun = left in read_words("articles") | {"of", "in", "on", "with", "for", "from", "at", "by"}
    is_new_adjective = piece.is_new and word in read_words("adjectives") and before_a_noun
    is_second_verb = piece.is_new and word in {"is", "are", "was", "were"}
    return (
        right == "sake"
        or (word in read_words("articles") and (right is None or right in read_words("no_noun_begins_with")))
        or (is_new_adjective and (right is None or right in read_words("no_noun_begins_with")))
        or (word in read_words("before_a_noun_phrase") | read_words("intensifiers") and ends)
        or (word == "of" and right in read_words("subjects") | read_words("finite_verbs"))
        or (word in read_words("conjunctions") and (right is None or right in read_words("objects")))
        or (word == "to" and right in read_words("finite_verbs"))
        or (is_second_verb and left in read_words("copulas") | read_words("modals") | {"has", "have", "had", "bin"})
        or (word.isdigit() and left in read_words("transitive") and (right is None or right == "about"))
        or (word in read_words("transitive") and _lacks_object(right, ends=ends, is_question=is_question))
        or (word in read_words("copulas") | read_words("prepositions") and ends and not is_question)
        or (
            (word.endswith("ly") or word in {"all", "just", "such"})
            and left in read_words("copulas")
            and ends
            and not is_question
        )
        or (word in read_words("modals") and (right is None or right in read_words("finite_verbs")) and not is_question)
        or (word in read_words("subjects") and right in read_words("no_verb_begins_with"))
        or (piece.is_new and word in {"care", "cares"} and (left in read_words("transitive") or left.isdigit()))
    )


def _lacks_object(right: str | None, *, ends: bool, is_question: bool) -> bool:
    return right == "about" or (ends and (right is not None or not is_question))
