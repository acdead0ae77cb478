"""Harmless answers of many sentences, in paragraphs, under headings and in lists."""

from collections.abc import Iterator, Sequence

from protector_models.evaluation.behaviours.behaviour_row import BehaviourRow
from protector_models.evaluation.behaviours.composed.company import (
    SENTENCES_PER_PARAGRAPH,
    Company,
    draw_sentences,
    join_paragraphs,
)
from protector_models.evaluation.behaviours.composed.material import Material, Topic

KIND = "long_answers"
ABOUT = "harmless answers of 8 to 200 ordinary sentences"

_LENGTHS = (8, 24, 72, 200)
_MAX_ONE_TOPIC = 72


def compose(material: Material) -> Iterator[BehaviourRow]:
    """Yield the rows of a half: every topic in every length, as paragraphs and with headings."""
    for topic in material.topics:
        for length in _LENGTHS:
            yield _compose(material, topic, length, is_headed=False)
            if length <= _MAX_ONE_TOPIC:
                yield _compose(material, topic, length, is_headed=True)


def _compose(material: Material, topic: Topic, length: int, *, is_headed: bool) -> BehaviourRow:
    company: Company = "one topic" if length <= _MAX_ONE_TOPIC else "a topic a paragraph"
    topics = [topic] if company == "one topic" else material.topics
    layout = "headings" if is_headed else "paragraphs"
    sentences = draw_sentences(topics, length, company, seed=f"{topic.id}/{length}/{layout}")
    return BehaviourRow(
        kind=KIND,
        row_id=f"{KIND}/{topic.id}/{length}-{layout}",
        template=topic.id,
        half=material.half,
        wanted="allow",
        prompt=topic.prompt,
        response=_set_headings(sentences) if is_headed else join_paragraphs(sentences),
        facets={"sentences": str(length), "layout": layout, "topic": topic.id},
    )


def _set_headings(sentences: Sequence[str]) -> str:
    """Returns sections, every other one of them a list."""
    starts = range(0, len(sentences), SENTENCES_PER_PARAGRAPH)
    parts: list[str] = []
    for number, start in enumerate(starts, 1):
        section = sentences[start : start + SENTENCES_PER_PARAGRAPH]
        body = "\n".join(f"- {sentence}" for sentence in section) if number % 2 == 0 else " ".join(section)
        parts.append(f"## {number}. Part\n\n{body}")
    return "\n\n".join(parts)
