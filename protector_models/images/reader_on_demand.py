"""An image reader that is loaded when the first image comes: most batches from files are text alone."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from protector_models.images.settings import ImageSettings
from protector_models.moderation.images import ImageReading
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.ports import ImageReader

if TYPE_CHECKING:
    from protector_models.images.reader import ThreadedImageReader


class ClosableImageReader(ImageReader, Protocol):
    """A reader that holds threads."""

    async def close(self) -> None:
        """Give them up."""


class ImageReaderOnDemand:
    """Loads a reader, which takes two seconds of a CPU, at its first use. Implements `ImageReader`."""

    def __init__(self, load: Callable[[], ClosableImageReader]) -> None:
        """Load nothing yet.

        Args:
            load: gives the loaded reader; blocks.
        """
        self._load = load
        self._reader: ClosableImageReader | None = None

    @property
    def revision(self) -> str:
        """The reader's "name@revision"; loads it."""
        return self._loaded().revision

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        """Read each image.

        Raises:
            ConfigurationError: the reader cannot be loaded.
            DependencyError: it is late.
        """
        return await self._loaded().read(contents)

    async def close(self) -> None:
        """Close the reader, if there ever was one."""
        if self._reader is not None:
            await self._reader.close()

    def _loaded(self) -> ClosableImageReader:
        if self._reader is None:
            self._reader = self._load()
        return self._reader


def import_and_load_image_reader(
    settings: ImageSettings, *, num_threads: int, timeout_s: float
) -> "ThreadedImageReader":
    """Do as `load_image_reader`, whose module takes OpenCV and its company along, which takes a second.

    Raises:
        ConfigurationError: reading is off, or a list or model cannot be used.
    """
    from protector_models.images.reader import load_image_reader  # noqa: PLC0415  # heavy, see above

    return load_image_reader(settings, num_threads=num_threads, timeout_s=timeout_s)
