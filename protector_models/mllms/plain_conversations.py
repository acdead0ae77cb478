"""Conversations as plain text that a language model can go on with which was never taught to chat."""

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.messages.message import Message, TextPart

_PREFACE = """\
What follows is a conversation between a person and a friendly assistant. The assistant answers each time in one short \
paragraph of plain sentences.

Person: What is the capital of Italy?
Assistant: Rome is the capital of Italy. It lies on the river Tiber.

Person: How do I boil an egg?
Assistant: Put it into boiling water and take it out after seven minutes. Cold water stops it from cooking any further.

"""
_NAMES = {"user": "Person", "assistant": "Assistant"}


def write_conversation(event: ConversationEvent) -> str:
    """Return a text whose natural end is the answer to a conversation: one paragraph, on one line.

    Args:
        event: the last message is the user's; texts of users and assistants are taken, and nothing else.
    """
    turns = [(_NAMES[message.role], _text_of(message)) for message in event.messages if message.role in _NAMES]
    return _PREFACE + "".join(f"{name}: {text}\n\n" for name, text in turns) + "Assistant:"


def first_line(text: str) -> str:
    """Return what of a text that was written in answer belongs to it: its first line that is not blank."""
    return text.lstrip().split("\n", maxsplit=1)[0]


def is_over(text: str) -> bool:
    """Tell whether all that is written from now on belongs to somebody else's turn."""
    return "\n" in text.lstrip()


def _text_of(message: Message) -> str:
    content = message.content or ""
    texts = [content] if isinstance(content, str) else [part.text for part in content if isinstance(part, TextPart)]
    # A turn is one line: nobody writes another's.
    return " ".join(" ".join(texts).split())
