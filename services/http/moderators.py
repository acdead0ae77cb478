"""What calls are answered by, once the models are up: one Moderator, and its shadows that change nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import ChatModel, Moderates, VerdictCache
from services.http.refusals import RefusedRequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Moderators:
    """A Moderator as calls need it. Each call is answered by one of these, whatever takes its place meanwhile."""

    policy: Policy
    """The one that all three decide by."""
    live: Moderates
    """Decides and rewrites."""
    shadow: Moderates
    """Decides the same, and rewrites and withholds nothing."""
    inputs: Moderates
    """As `shadow`, of inputs that are nobody's answer: what stands in their images is judged with their text."""
    find_detector: Callable[[], str | None]
    """Gives the "name@revision" of the detector, as far as is known: it may be replaced by another one."""
    cache: VerdictCache
    """Keeps answers that may be asked for again."""
    name_language: Callable[[str], str | None] | None = None
    """Gives the language of a text, for the policy's own ones; None: it is not looked at."""
    chat: ChatModel | None = None
    """Answers chats; None where no MLLM is configured."""

    @property
    def detector(self) -> str:
        """The "name@revision" of the detector, as far as is known."""
        return self.find_detector() or ""

    @classmethod
    def of(cls, moderator: Moderator, cache: VerdictCache, *, chat: ChatModel | None = None) -> Self:
        """Return what a Moderator is to calls.

        Args:
            moderator: over models that are up.
            cache: keeps answers.
            chat: answers chats.
        """
        return cls(
            policy=moderator.policy,
            live=moderator,
            shadow=moderator.in_shadow(),
            inputs=moderator.in_shadow(judges_image_texts=True),
            find_detector=partial(moderator.find_revision, "detector"),
            cache=cache,
            name_language=moderator.name_language,
            chat=chat,
        )


class Readiness:
    """Whether calls can be answered: from when the models are up on."""

    def __init__(self, moderators: Moderators | None = None) -> None:
        self.moderators = moderators
        """Set once they are there, and anew where another policy is in force."""

    def require(self) -> Moderators:
        """Return what answers.

        Raises:
            RefusedRequestError: nothing does yet.
        """
        if self.moderators is None:
            raise RefusedRequestError("not_ready", "the models are starting")
        return self.moderators
