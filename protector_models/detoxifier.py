"""The detoxifier: an edit model for toxic wording, and a generative model for those who have one."""

from collections.abc import Sequence
from typing import Protocol

from protector_models.moderation.verdict import ItemFailure


class TextEditor(Protocol):
    """An edit model: changes toxic wording and nothing else. Computes on the thread that calls; several may at once."""

    @property
    def revision(self) -> str:
        """Return "name@revision": equal revisions give equal edits of equal texts."""

    def edit(self, texts: Sequence[str]) -> list[str | ItemFailure]:
        """Edit each text, whatever its neighbours are; same length and order.

        A text without toxic wording comes back as it was. May return an empty text where nothing else was in it. What
        the model cannot handle is an `ItemFailure`.
        """
