"""Where results go: which topics a verdict or a dead letter is published to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pipelines.streaming.settings import StreamSettings
from protector_models.moderation.verdict import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlets:
    """The topics that a stream writes. What becomes of one record goes to all its topics in one transaction."""

    moderated: str
    """Of every moderated conversation."""
    dead_letters: str
    by_action: Mapping[Action, str]
    """Of a further copy of the moderated conversations with an action; none for actions that are not here."""

    @classmethod
    def of(cls, stream: StreamSettings) -> Self:
        """Return the outlets that are configured."""
        return cls(moderated=stream.sink_topic, dead_letters=stream.dead_letters.topic, by_action=stream.action_topics)

    def for_action(self, action: Action) -> tuple[str, ...]:
        """Return where a moderated conversation goes by its action: that which is done, not that of shadow mode."""
        copy = self.by_action.get(action)
        return (self.moderated,) if copy is None else (self.moderated, copy)

    def topics(self) -> tuple[str, ...]:
        """Return all of them, each once."""
        return tuple(dict.fromkeys((self.moderated, self.dead_letters, *self.by_action.values())))
