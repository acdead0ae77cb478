"""The card beside an adapter that Weir trained: which base it is for, and with which prompt it was trained."""

from pathlib import Path

from protector_models.checkpoints.cards import CARD_FILE, CheckpointError, WeightsCard


class AdapterCard(WeightsCard):
    """The card of an adapter that `weir train` wrote: of a detoxifier or of a detector."""

    layout: str
    """Name of the prompt layout."""
    base: str
    """Name of the folder that held the base."""
    base_digest: str
    """Of the base's files."""


def check_base(directory: Path, *, base_digest: str) -> AdapterCard | None:
    """Refuse an adapter whose card says that it is for another base; returns the card, None where there is none.

    Raises:
        CheckpointError: it is, or a file is not the one that the card names.
    """
    if not (directory / CARD_FILE).exists():
        return None
    card = AdapterCard.load(directory)
    if card.base_digest != base_digest:
        raise CheckpointError(
            f"{directory}: trained on the base {card.base!r} with digest {card.base_digest}, got one with {base_digest}"
        )
    return card
