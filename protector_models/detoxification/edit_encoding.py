"""How a sentence becomes tokens for the edit model, and which token stands for which word, in training and serving."""

from dataclasses import dataclass

from tokenizers import Tokenizer

from protector_models.detoxification.tagged_words import Word, split_words
from protector_models.reading.normal_form import normalise

EDIT_LAYOUT = "edit-1"
"""Name of the way of reading; part of the model's revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedWords:
    """A sentence as the model reads it."""

    ids: tuple[int, ...]
    """Token ids, with the marks for beginning and end."""
    words: tuple[Word, ...]
    """The words, as positions in the sentence itself."""
    first_tokens: tuple[int | None, ...]
    """For each word the place in `ids` of the token it begins with; None where the model does not see it."""


def encode_words(text: str, tokenizer: Tokenizer, *, max_tokens: int) -> EncodedWords:
    """Reads a sentence in its normal form, so that a disguised word is the word it stands for.

    Args:
        text: the sentence.
        tokenizer: the encoder's; it neither cuts nor pads.
        max_tokens: tokens that are read, at least 3; words beyond them are not seen.
    """
    normal = normalise(text, tokenizer.token_to_id)
    encoded = tokenizer.encode(normal.text)
    ids = tuple(encoded.ids)
    if len(ids) > max_tokens:
        ids = (*ids[: max_tokens - 1], ids[-1])
    places = iter(enumerate(encoded.offsets[1 : len(ids) - 1], start=1))
    token = next(places, None)
    words: list[Word] = []
    first_tokens: list[int | None] = []
    for word in split_words(normal.text):
        while token is not None and token[1][1] <= word.start:
            token = next(places, None)
        start, end = normal.place(word.start), normal.place(word.end - 1) + 1
        if words and start < words[-1].end:
            # One character can stand for several words, as "…" for three full stops: they are one word.
            words[-1] = Word(start=words[-1].start, end=max(end, words[-1].end), is_fixed=words[-1].is_fixed)
            continue
        words.append(Word(start=start, end=end, is_fixed=word.is_fixed))
        first_tokens.append(token[0] if token is not None and token[1][0] < word.end else None)
    return EncodedWords(ids=ids, words=tuple(words), first_tokens=tuple(first_tokens))
