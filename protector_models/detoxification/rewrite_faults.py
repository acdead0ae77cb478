"""Faults that make a generated rewrite none: it is empty, goes round in circles, was cut, or is the harmful answer."""

import re
from collections.abc import Sequence

from protector_models.moderation.model_outputs import ItemFailure

_UNIT = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")
"""A word, or a character of a script that puts no spaces between words."""
_TAILS = (60, 240)
"""Units at the end of a text that are looked at: the short one finds loops of up to 15 units, the long one of 60."""
_MIN_UNITS = 24
_MIN_ROUNDS = 4
_LOOPING_SHARE = 0.85
_MAX_PIECE = 20
_PIECE_ROUNDS = 64
_PIECE_TAIL = 2_000
"""Characters at the end in which a repeated piece is looked for."""


def find_fault(text: str, *, response: str, is_cut: bool) -> ItemFailure | None:
    """Return why a generated text is no rewrite of a response, None where nothing speaks against it.

    Args:
        text: what the model wrote.
        response: the harmful response.
        is_cut: the model had not finished when its budget of tokens was used up.
    """
    if not text.strip() and not is_cut:
        return ItemFailure(error="EmptyRewrite", message="the model wrote nothing; expected some text")
    # Before the cut: a model that goes round in circles is cut as well, and the circles are the reason.
    if is_looping(text):
        return ItemFailure(error="LoopingRewrite", message=f"{len(text)} characters that end by repeating themselves")
    if is_cut:
        return ItemFailure(error="CutRewrite", message=f"not finished after {len(text)} characters")
    if text.split() == response.split():
        return ItemFailure(error="UnchangedRewrite", message="the model repeated the response; expected a change")
    return None


def is_looping(text: str) -> bool:
    """Tell whether a text ends by repeating itself.

    It does where, for some distance of at most a quarter of the tail, 85% of the tail's words are those that stand that
    distance before: a counter that goes up in every round does not hide the loop. Or where it ends with 64 times the
    same few characters, at most 20 and no space among them ("ha", "=", an emoji), and nothing after them is a word.

    Measured on up to 1,500 texts each of the training data: none of 12,000 that people or careful models wrote
    (cipherchat, counsel_chat, gpteacher, gsm8k, halueval_general, med_safety, medquad, owasp_benign) loops; 124 of
    jbb_family's 1,500 and 340 of refusal_direction_benign's 983, which models wrote past their end, do.
    """
    if _ends_with_repeated_piece(text[-_PIECE_TAIL:]):
        return True
    units = _UNIT.findall(text.casefold())
    return len(units) >= _MIN_UNITS and any(_is_periodic(units[-length:]) for length in _TAILS)


def _ends_with_repeated_piece(tail: str) -> bool:
    # By hand, for the time it takes: a regular expression tries each piece at each place, and each number of rounds.
    num_trailing = next((place for place, character in enumerate(reversed(tail)) if _is_of_word(character)), len(tail))
    return any(_is_piece_repeated(tail, length, num_trailing) for length in range(1, _MAX_PIECE + 1))


def _is_piece_repeated(tail: str, length: int, num_trailing: int) -> bool:
    """Tell whether a piece of this length stands 64 times in a row before at most `num_trailing` other characters."""
    num_equal = 0
    for place in reversed(range(length, len(tail))):
        if tail[place] == tail[place - length] and not tail[place].isspace():
            num_equal += 1
            if num_equal == length * (_PIECE_ROUNDS - 1):
                return True
        elif place < len(tail) - num_trailing:
            return False
        else:
            num_equal = 0
    return False


def _is_of_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _is_periodic(tail: Sequence[str]) -> bool:
    for distance in range(1, len(tail) // _MIN_ROUNDS + 1):
        num_compared = len(tail) - distance
        num_equal = sum(earlier == later for earlier, later in zip(tail, tail[distance:], strict=False))
        if num_equal >= _LOOPING_SHARE * num_compared:
            return True
    return False
