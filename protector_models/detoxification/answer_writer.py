"""The port of writers of answers: the seam between the generative detoxifier and a language model in this process."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from protector_models.moderation.model_outputs import ItemFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingTask:
    """What a model is to write once."""

    prompt: str
    response: str
    seed: int | None
    """None: the likeliest text. Else a drawn one, which equal seeds give again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a model wrote."""

    text: str
    """Without control tokens; may be empty."""
    is_cut: bool
    """The budget of tokens was used up before the model had finished."""


class AnswerWriter(Protocol):
    """A language model that computes on the thread that calls it; one call at a time."""

    @property
    def revision(self) -> str:
        """Its "name@revision": equal revisions give equal drafts of equal tasks."""

    def write(
        self, tasks: Sequence[WritingTask], *, is_wanted: Callable[[], bool]
    ) -> Iterator[tuple[int, Draft | ItemFailure]]:
        """Write an answer for each task; yield the task's place and the answer as soon as it is finished, in any order.

        Args:
            tasks: what to write.
            is_wanted: asked between tokens; once it says no, nobody waits for further drafts and the call ends soon.

        Raises:
            ModelUnavailableError: the device failed, its memory does not suffice for now, or nobody waits any more.
        """
