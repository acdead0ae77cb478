"""Answers that are put together from two data sets."""

import hashlib

from pipelines.demo.mixed_answers import make_replies, put_into_answers, read_sentences
from pipelines.demo.sources import Row, SentenceSource

SOURCE = SentenceSource(name="S", file="s", field="text", accepts=lambda row: "accept" in str(row["text"]))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def row(number: int, *, label: int = 1, **fields: str) -> Row:
    return {
        "id": f"r{number}",
        "label": label,
        "text": None,
        "response": None,
        "prompt": None,
        "category": None,
        **fields,
    }


def test_sentences_are_accepted_ones_of_fair_length_each_once_and_read_like_sentences() -> None:
    rows = [
        row(1, text="i don 't accept this , you  are wrong"),
        row(2, text="i don't accept this, you are wrong"),
        row(3, text="accept it !"),
        row(4, text="accept " * 40),
        row(5, text="this is something else that nobody wants"),
        row(6, text="they accept all of it, they 're fine ?", label=0),
        row(7, text="you won 't accept what we 're saying !"),
    ]
    found = read_sentences(rows, SOURCE, digest)
    assert sorted(found) == ["I don't accept this, you are wrong.", "You won't accept what we're saying!"]
    assert found == read_sentences(rows[::-1], SOURCE, digest)


def test_an_answer_gets_one_sentence_between_its_own_and_is_harmful_then() -> None:
    response = "First knead the dough. Then let it rise. Then bake it."
    hosts = [row(1, label=0, response=response), row(2, label=0, response="Too. Short."), row(3, response=response)]
    (mixed,) = put_into_answers(hosts, ["You are late.", "Never used."], digest)
    assert (mixed["id"], mixed["label"], mixed["sentence"]) == ("r1", 1, "You are late.")
    assert mixed["response"] in {
        "First knead the dough. You are late. Then let it rise. Then bake it.",
        "First knead the dough. Then let it rise. You are late. Then bake it.",
    }


def test_replies_have_ids_of_their_own_and_one_of_the_prompts() -> None:
    replies = list(make_replies(["One.", "Two.", "Three."], ["A?", "B?"], digest))
    assert len({reply["id"] for reply in replies}) == 3
    assert [reply["response"] for reply in replies] == ["One.", "Two.", "Three."]
    assert {reply["prompt"] for reply in replies} <= {"A?", "B?"}
