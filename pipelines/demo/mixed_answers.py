"""Answers that are harmful in part: a sentence of one data set within a harmless answer of another, or as a chat reply.

Which sentence goes where depends on nothing but ids: the sentences are in the order of their hashes, each is used once,
and an answer has it at one of the places between its sentences.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from pipelines.demo.sources import Row, SentenceSource
from protector_models.moderation.sentences import split_sentences

Digest = Callable[[str], str]
"""Hashes an id; the order of hashes is the order in which things are taken."""

_SPACE_BEFORE = re.compile(r"\s+(?=[.,!?;:…]|n?['’]\s?(?:t|s|re|m|ve|ll|d)\b)")
_SPACE_AFTER_APOSTROPHE = re.compile(r"(?<=\w['’])\s+(?=(?:t|s|re|m|ve|ll|d)\b)")
_LONELY_I = re.compile(r"\bi\b")
_LONGEST_SENTENCE = 160
_SHORTEST_SENTENCE = 25
_LEAST_SENTENCES = 3


def read_sentences(rows: Sequence[Row], source: SentenceSource, digest: Digest) -> list[str]:
    """Return the sentences of a data set that may be put into answers, each once, in the order of their hashes."""
    texts = {
        _tidy(str(row[source.field])): str(row["id"])
        for row in rows
        if row["label"] == 1 and row[source.field] and source.accepts(row)
    }
    fitting = [text for text in texts if _SHORTEST_SENTENCE <= len(text) <= _LONGEST_SENTENCE]
    return sorted(fitting, key=lambda text: digest(texts[text]))


def put_into_answers(rows: Sequence[Row], sentences: Sequence[str], digest: Digest) -> Iterator[Row]:
    """Yield harmless answers with one of the sentences each, as rows with a harmful answer.

    Answers of fewer than three sentences are left out.
    """
    ordered = sorted((row for row in rows if row["label"] == 0), key=lambda row: digest(str(row["id"])))
    answers = (row for row in ordered if len(split_sentences(str(row["response"] or ""))) >= _LEAST_SENTENCES)
    for row, sentence in zip(answers, sentences, strict=False):
        response = str(row["response"]).strip()
        places = split_sentences(response)[1:]
        place = places[int(digest(f"place of {row['id']}"), 16) % len(places)].start
        yield {**row, "label": 1, "sentence": sentence, "response": f"{response[:place]}{sentence} {response[place:]}"}


def make_replies(sentences: Sequence[str], prompts: Sequence[str], digest: Digest) -> Iterator[Row]:
    """Yield chat replies, as rows with a harmful answer."""
    for sentence in sentences:
        number = int(digest(sentence), 16)
        yield {
            "id": f"reply/{digest(sentence)}",
            "source": "",
            "prompt": prompts[number % len(prompts)],
            "response": sentence,
            "sentence": sentence,
            "label": 1,
            "category": None,
        }


def _tidy(text: str) -> str:
    """Undo what tokenisers do to a sentence: capitals gone, and spaces before its marks."""
    line = " ".join(text.split())
    line = _SPACE_AFTER_APOSTROPHE.sub("", _SPACE_BEFORE.sub("", line))
    line = _LONELY_I.sub("I", line)
    line = line[:1].upper() + line[1:]
    return line if line[-1:] in ".!?…" else f"{line}."
