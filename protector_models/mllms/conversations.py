"""How a conversation is put to an MLLM that runs here: whose turn each message is, and what is shown and said in it.

- `system` and `developer` messages stand in front, as one; where the model's chat template knows no such turn, in the
  first user turn.
- `tool` and `function` messages, and those of a role that Weir does not know, are the user's: they are what the model
  was told, not what it said.
- An assistant's refusal is what it said. Its calls of tools are not shown: templates differ too much in them.
- Neighbours of one role are one turn, since some templates refuse anything but alternation; messages in which nothing
  is said or shown are left out.
- No text can pass for a control token or for the place of an image: such a string gets a space.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.messages.message import ImagePart, Message, TextPart
from protector_models.transformer_models.control_tokens import break_up

CONVERSATION_LAYOUT = "conversation-1"
"""Name of these rules: a part of the revision of every model that is asked by them."""

Role = Literal["system", "user", "assistant"]

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "tool": "user",
    "function": "user",
    "other": "user",
    "assistant": "assistant",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A text in a turn."""

    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An image in a turn."""

    reference: str


@dataclass(slots=True)
class Turn:
    """What one side says and shows before the other one speaks; never empty."""

    role: Role
    parts: list[Said | Shown] = field(default_factory=list)

    def add(self, parts: Sequence[Said | Shown]) -> None:
        """Append parts; texts that meet become one, on lines of their own."""
        for part in parts:
            last = self.parts[-1] if self.parts else None
            if isinstance(part, Said) and isinstance(last, Said):
                self.parts[-1] = Said(f"{last.text}\n{part.text}")
            else:
                self.parts.append(part)


def make_turns(event: ConversationEvent, *, takes_system: bool, control_tokens: set[str]) -> list[Turn]:
    """Return the turns of a conversation; none where nothing is said or shown.

    Args:
        event: the conversation.
        takes_system: the model's chat template knows a system turn.
        control_tokens: strings that the model does not read as text.
    """
    system = Turn("system" if takes_system else "user")
    turns: list[Turn] = []
    for message in event.messages:
        role = _ROLES[message.role]
        parts = list(_parts(message, control_tokens))
        if not parts:
            continue
        if role == "system":
            system.add(parts)
        elif turns and turns[-1].role == role:
            turns[-1].add(parts)
        else:
            turns.append(Turn(role, parts=[]))
            turns[-1].add(parts)
    if not system.parts:
        return turns
    if turns and turns[0].role == system.role:
        system.add(turns.pop(0).parts)
    return [system, *turns]


def image_references(turns: Sequence[Turn]) -> list[str]:
    """Return the references of the images, in the order in which the model sees them."""
    return [part.reference for turn in turns for part in turn.parts if isinstance(part, Shown)]


def _parts(message: Message, control_tokens: set[str]) -> Iterator[Said | Shown]:
    content = message.content
    if content is None or isinstance(content, str):
        text = content or message.refusal or ""
        if text:
            yield Said(break_up(text, control_tokens))
        return
    for part in content:
        if isinstance(part, ImagePart):
            yield Shown(part.image_url.url)
        elif isinstance(part, TextPart) and part.text:
            yield Said(break_up(part.text, control_tokens))
