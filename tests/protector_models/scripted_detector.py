"""The fake detector as one that is loaded: with a threshold, categories, and something to close."""

from collections.abc import Collection

from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import FakeHarmDetector


class ScriptedDetector(FakeHarmDetector):
    """Scores a response by the number after "harm=" in it. Implements `LoadedDetector`."""

    def __init__(
        self,
        name: str = "first",
        *,
        threshold: float = 0.5,
        categories: Collection[str] = (),
        max_characters: int | None = None,
    ) -> None:
        """Make a detector; see `FakeHarmDetector`."""
        super().__init__(revision=f"{name}@1", max_characters=max_characters)
        self._threshold = threshold
        self._categories = frozenset(categories)
        self.is_warm = False
        self.is_closed = False

    @property
    def threshold(self) -> float:
        return self._threshold

    @property
    def categories(self) -> frozenset[str]:
        return self._categories

    def warm_up(self) -> None:
        self.is_warm = True

    async def check_health(self, *, timeout_s: float) -> None:
        if self.unavailable:
            raise ModelUnavailableError(f"{self.revision}: no result within {timeout_s:g} s")

    async def close(self) -> None:
        self.is_closed = True
