"""The fake image reader as one that holds something open."""

from protector_models.moderation.fakes import FakeImageReader
from protector_models.moderation.model_outputs import ItemFailure


class OpenFakeImageReader(FakeImageReader):
    """Reads an image when its health is asked for, and remembers that it was closed."""

    is_closed = False

    async def check_health(self, *, timeout_s: float) -> None:  # it is never late
        """Read an image."""
        (reading,) = await self.read([b"an image"])
        assert not isinstance(reading, ItemFailure)

    async def close(self) -> None:
        """Take note."""
        self.is_closed = True
