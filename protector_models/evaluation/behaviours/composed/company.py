"""Ordinary sentences in company of each other: as many as are asked for, by topic or at random, in paragraphs."""

import random
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Literal, get_args

from protector_models.evaluation.behaviours.composed.material import Topic

Company = Literal["one topic", "a topic a paragraph", "random"]
COMPANIES: tuple[Company, ...] = get_args(Company)
SENTENCES_PER_PARAGRAPH = 5


def draw_sentences(topics: Sequence[Topic], number: int, company: Company, *, seed: str) -> list[str]:
    """Return ordinary sentences, the same for the same seed; they repeat only where the topics have no more.

    Args:
        topics: at least one.
        number: how many.
        company: how the topics are mixed.
        seed: any text.
    """
    rng = random.Random(seed)
    shuffled = rng.sample(list(topics), len(topics))
    match company:
        case "one topic":
            return list(islice(cycle(_order(shuffled[0], rng)), number))
        case "a topic a paragraph":
            sources = [cycle(_order(topic, rng)) for topic in shuffled]
            paragraphs = (islice(source, SENTENCES_PER_PARAGRAPH) for source in cycle(sources))
            return list(islice((sentence for paragraph in paragraphs for sentence in paragraph), number))
        case "random":
            everything = [sentence for topic in shuffled for sentence in _order(topic, rng)]
            return list(islice(cycle(rng.sample(everything, len(everything))), number))


def join_paragraphs(sentences: Sequence[str]) -> str:
    """Return sentences as a text, five in a paragraph."""
    starts = range(0, len(sentences), SENTENCES_PER_PARAGRAPH)
    return "\n\n".join(" ".join(sentences[start : start + SENTENCES_PER_PARAGRAPH]) for start in starts)


def _order(topic: Topic, rng: random.Random) -> list[str]:
    """Returns all sentences of a topic, one of every template before the second of any."""
    by_template = [rng.sample(texts, len(texts)) for texts in topic.texts]
    rounds = [
        [texts[number] for texts in by_template if number < len(texts)] for number in range(max(map(len, by_template)))
    ]
    return [sentence for each in rounds for sentence in rng.sample(each, len(each))]
