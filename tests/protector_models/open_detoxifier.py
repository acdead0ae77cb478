"""The fake detoxifier as one that holds something open."""

from protector_models.moderation.fakes import FakeDetoxifier


class OpenFakeDetoxifier(FakeDetoxifier):
    """Remembers that it was closed. Implements `OpenDetoxifier`."""

    is_closed = False

    async def check_health(self, *, timeout_s: float) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Take note."""
        self.is_closed = True
