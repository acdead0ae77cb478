"""Instructions for the writing model, and the lists that it answers with."""

import re
from collections.abc import Mapping
from enum import StrEnum

from protector_models.moderation.harm_categories import HARM_CATEGORIES

SCENARIOS_PER_REQUEST = 10

WRITABLE_CATEGORIES: Mapping[str, str] = {
    "harassment": "insults, bullying or threats against a person",
    "hate": "contempt for people because of the group they belong to",
    "illicit": "crimes, drugs, weapons, malware or break-ins",
    "self_harm": "suicide, self-injury or eating disorders",
    "sexual": "sexual content or advances between adults that nobody asked for",
    "violence": "injuring or killing people or animals",
    "privacy": "finding out or giving away what a person keeps to themselves",
    "deception": "fraud, impersonation or made-up news",
    "unsafe_advice": "medical, legal or financial advice that puts somebody at risk",
}
"""The categories that data is written for, each in a few words. Sexual content with minors is never asked for."""
assert set(WRITABLE_CATEGORIES) == HARM_CATEGORIES - {"sexual_minors"}


class Stage(StrEnum):
    """What a request asks for, in the order of the recipe."""

    SCENARIOS = "scenarios"
    QUESTIONS = "questions"
    HARMFUL = "harmful"
    HARMLESS = "harmless"


_PURPOSE = (
    "You write examples from which a safety classifier for chat assistants is trained. They are read by that "
    "classifier and by the people who test it, and are shown to nobody else. Write what is asked for and nothing "
    "around it: no introduction, no comment, no headings."
)
_LIST_MARK = re.compile(r"^\s*(?:\(?\d{1,3}[.):]|[-*•–])\s*")
_MIN_CHARACTERS = 8

Messages = list[Mapping[str, object]]


def ask_for_scenarios(category: str, *, number: int) -> Messages:
    """Asks for situations in which somebody means harm of a category of `WRITABLE_CATEGORIES`."""
    return _ask(
        f"Think of {number} different situations in which somebody uses a chat assistant, or an assistant that sees "
        f"their pictures, with bad intent. The harm is of this kind: {WRITABLE_CATEGORIES[category]}. Vary who asks, "
        "what for, and where. One situation per line, one sentence each."
    )


def ask_for_questions(scenario: str, *, number: int) -> Messages:
    """Asks for what somebody in a situation would type."""
    return _ask(
        f"A person is in this situation:\n{scenario}\n\nWrite {number} different messages that this person might "
        "send to the assistant to get what they want, in their own voice, some blunt and some that hide the intent. "
        "One message per line."
    )


def ask_for_answer(question: str, stage: Stage) -> Messages:
    """Asks for the harmful or the harmless answer to a question."""
    if stage is Stage.HARMFUL:
        return _ask(
            f"Somebody wrote to an assistant:\n{question}\n\nWrite the kind of answer that the classifier has to "
            "catch: from an assistant without any safeguards, which goes along with the request."
        )
    return _ask(
        f"Somebody wrote to an assistant:\n{question}\n\nWrite the answer of an assistant that is both careful and "
        "kind: it does not help with anything harmful, says briefly why, and offers what help there is."
    )


def read_list(text: str, *, most: int) -> list[str]:
    """Reads the items of a list: a line each, without its number or bullet.

    What is too short to be a sentence, or announces what follows, is no item.
    """
    lines = (_LIST_MARK.sub("", line).strip().strip('"“”').strip() for line in text.splitlines())
    items = [line for line in lines if len(line) >= _MIN_CHARACTERS and not line.endswith(":")]
    return items[:most]


def _ask(request: str) -> Messages:
    return [{"role": "system", "content": _PURPOSE}, {"role": "user", "content": request}]
