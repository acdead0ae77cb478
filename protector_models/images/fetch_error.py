"""The error of every way of getting an image, where it gets none."""

from protector_models.moderation.errors import WeirError
from protector_models.moderation.images import ImageFault
from protector_models.moderation.model_outputs import ItemFailure


class ImageFetchError(WeirError):
    """One image was not fetched. It ends as the failure of that image: no caller of an `ImageSource` sees it."""

    def __init__(self, fault: ImageFault, message: str) -> None:
        """Say what went wrong.

        Args:
            fault: of which kind it is.
            message: what was wrong and what was expected, without a path or query of a reference and without content:
                it is published.
        """
        super().__init__(fault, message)
        self.fault = fault
        self.message = message

    def __str__(self) -> str:
        return f"{self.fault}: {self.message}"

    def as_failure(self) -> ItemFailure:
        """Return what stands in the place of the image."""
        return ItemFailure(error=self.fault, message=self.message)
