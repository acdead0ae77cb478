"""A weights directory and its card: what is in it, that it is intact, and the name its scores are published under."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.revisions import make_revision

CARD_FILE = "card.json"


class CheckpointError(ConfigurationError):
    """A weights directory is missing, damaged, or made for other code. The message names the file."""


class Calibration(BaseModel):
    """From an output's logit to one whose logistic function is a probability on held-out rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: Annotated[float, Field(gt=0.0)]
    bias: float


class WeightsCard(BaseModel):
    """What every machine-readable card beside weights says; `MODEL_CARD.md` says the same to people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """Name of the model, the part of the revision before the @."""
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    """SHA-256 of every file that the model is made of, by name."""
    recipe: dict[str, str | int | float]
    """The choices of the training run."""
    validation: dict[str, float | int | None]
    """Metrics on the held-out slice, measured on the weights as shipped."""

    def make_revision_of(self, parts: Mapping[str, object]) -> str:
        """Returns "name@revision", of its files and of the other parts that decide what the model puts out."""
        return make_revision(self.name, {"files": self.files, **parts})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads the card of a weights directory and checks every file it names against its hash.

        Raises:
            CheckpointError: the card or a file is missing, is not what it should be, or has another hash.
        """
        card_file = directory / CARD_FILE
        try:
            card = cls.model_validate_json(card_file.read_bytes())
        except OSError as error:
            raise CheckpointError(f"{card_file}: cannot be read: {type(error).__name__}") from error
        except ValidationError as error:
            raise CheckpointError(f"{card_file}: not a checkpoint card: {error}") from error
        for name, expected in card.files.items():
            found = hash_file(directory / name)
            if found != expected:
                raise CheckpointError(f"{directory / name}: SHA-256 is {found}, the card says {expected}")
        return card

    def save(self, directory: Path) -> None:
        """Writes the card into a weights directory."""
        (directory / CARD_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


class Pairing(BaseModel):
    """How an accurate detector goes together with a fast one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fast: str
    """The fast detector, by its files, layout and calibrations: with another one the figures below do not hold."""
    band: tuple[Annotated[float, Field(ge=0.0, le=1.0)], Annotated[float, Field(ge=0.0, le=1.0)]]
    """[low, high], both ends included: windows whose harmfulness the fast one puts here are read by both."""
    accurate_share: Annotated[float, Field(gt=0.0, le=1.0)]
    """Weight of the accurate one's calibrated logits in the mean of both."""
    threshold: Annotated[float, Field(ge=0.0, le=1.0)]
    threshold_rule: str
    budget_thresholds: dict[str, dict[str, float | None]]
    validation: dict[str, float | int | None]
    """As in the card of one detector, of the pair."""


class CheckpointCard(WeightsCard):
    """The card of a harm detector."""

    layout: str
    """Name of the prompt layout the model was trained with."""
    categories: tuple[str, ...]
    """Categories of the model's outputs after the first two, in order."""
    calibrations: tuple[Calibration, ...]
    """Of each output: answer, text alone, then the categories, in order."""
    threshold: Annotated[float, Field(ge=0.0, le=1.0)]
    """Harmfulness from which on a response counts as harmful, unless a policy says otherwise."""
    threshold_rule: str
    """How the threshold was chosen, and on what."""
    bag_of_words_threshold: Annotated[float, Field(ge=0.0, le=1.0)] | None
    """The same, chosen by the same rule, for the bag of words alone: evaluation reports it beside the detector. None:
    the directory holds none."""
    budget_thresholds: dict[str, dict[str, float | None]]
    """By `any` or category, then by share of safe held-out answers that may be flagged ("0.01"), difficult ones among
    them: the lowest threshold that keeps to it; None where the held-out rows are too few to tell."""
    validation: dict[str, float | int | None]
    """Metrics on the held-out slice, measured on the weights as shipped. Calibrations and thresholds were fitted on the
    same rows, so calibration and F1 flatter a little; public sets are the measure."""
    pairing: Pairing | None = None
    """Of an accurate detector, with the fast one in whose folder it lies; None: it stands alone."""

    def require_words_threshold(self, directory: Path) -> float:
        """Returns the threshold of the bag of words in the card's directory.

        Raises:
            CheckpointError: it holds none.
        """
        if self.bag_of_words_threshold is None:
            raise CheckpointError(f"{directory}: expected weights with a bag of words, {self.name} has none")
        return self.bag_of_words_threshold

    def make_revision(self, reading: str) -> str:
        """Returns "name@revision": equal revisions mean equal files, calibrations, outputs and way of reading.

        Args:
            reading: whatever else decides a score, such as the windows a text is read in.
        """
        calibrations = [calibration.model_dump() for calibration in self.calibrations]
        return self.make_revision_of(
            {"layout": self.layout, "calibrations": calibrations, "categories": self.categories, "reading": reading}
        )


def hash_file(file: Path) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {type(error).__name__}") from error
