"""What of a weights directory is used: the fast detector, the accurate one in its folder `accurate`, or both as a pair.

A pair has a card of its own, made of both: it reads with the fast one's vocabulary, its logits are calibrated already,
and its thresholds were chosen for it (`Pairing`).
"""

from dataclasses import dataclass
from pathlib import Path

from protector_models.checkpoints.cards import CARD_FILE, Calibration, CheckpointCard, CheckpointError, Pairing
from protector_models.settings import Weights

SHIPPED_WEIGHTS = Path(__file__).parents[2] / "weights" / "harm_detector"
"""The weights that ship with the project."""

ACCURATE_FOLDER = "accurate"
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
PAIR_NAME = "weir-pair"

_CALIBRATED = Calibration(scale=1.0, bias=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairInUse:
    """Two detectors that are served as one."""

    fast: CheckpointCard
    accurate: CheckpointCard
    pairing: Pairing


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsInUse:
    """Cards and folders of one detector, or of two."""

    directory: Path
    """Of the detector, or of the pair's fast one."""
    card: CheckpointCard
    """Of what is served: revision, calibrations, thresholds."""
    pair: PairInUse | None = None

    @property
    def fast(self) -> CheckpointCard:
        """The card of the detector in the folder: of a pair the fast one's."""
        return self.card if self.pair is None else self.pair.fast


def find_weights_in_use(directory: Path, which: Weights) -> WeightsInUse:
    """Read the cards of a weights directory, and check every file that they name.

    Args:
        directory: of a detector; its folder `accurate`, where there is one, holds a second.
        which: `both` is the directory's own detector alone where there is no second one.

    Raises:
        CheckpointError: a file is missing or damaged, there is no accurate detector, or it is paired with another one.
    """
    if which == "accurate":
        return WeightsInUse(
            directory=directory / ACCURATE_FOLDER, card=CheckpointCard.load(directory / ACCURATE_FOLDER)
        )
    fast = CheckpointCard.load(directory)
    # A folder without a card is one where training has not come to its end.
    if which == "fast" or not (directory / ACCURATE_FOLDER / CARD_FILE).exists():
        return WeightsInUse(directory=directory, card=fast)
    accurate = CheckpointCard.load(directory / ACCURATE_FOLDER)
    pairing = accurate.pairing
    if pairing is None or pairing.fast != name_for_pairing(fast):
        raise CheckpointError(
            f"{directory / ACCURATE_FOLDER}: expected a detector that is paired with {fast.name} in {directory}, it is "
            f"paired with {'none' if pairing is None else 'another'}: run `weir train pair`, or set detector.weights"
        )
    return WeightsInUse(
        directory=directory,
        card=make_pair_card(fast, accurate, pairing),
        pair=PairInUse(fast=fast, accurate=accurate, pairing=pairing),
    )


def name_for_pairing(fast: CheckpointCard) -> str:
    """Return what a pairing says of its fast detector."""
    return fast.make_revision("in a pair")


def make_pair_card(fast: CheckpointCard, accurate: CheckpointCard, pairing: Pairing) -> CheckpointCard:
    """Return the card of two detectors that are served as one.

    Raises:
        CheckpointError: they read with other vocabularies, or give other outputs.
    """
    for what, ours, theirs in (
        ("vocabulary", fast.files.get(TOKENIZER_FILE), accurate.files.get(TOKENIZER_FILE)),
        ("layout", fast.layout, accurate.layout),
        ("categories", fast.categories, accurate.categories),
    ):
        if ours != theirs:
            raise CheckpointError(f"{accurate.name}: expected the {what} of {fast.name}, it has another")
    return CheckpointCard(
        name=PAIR_NAME,
        files=fast.files | {f"{ACCURATE_FOLDER}/{name}": digest for name, digest in accurate.files.items()},
        layout=fast.layout,
        categories=fast.categories,
        calibrations=(_CALIBRATED,) * len(fast.calibrations),
        threshold=pairing.threshold,
        threshold_rule=pairing.threshold_rule,
        bag_of_words_threshold=fast.bag_of_words_threshold,
        budget_thresholds=pairing.budget_thresholds,
        recipe={"fast": fast.name, "accurate": accurate.name},
        validation=pairing.validation,
    )
