"""Pairing: thresholds for two detectors, and what of a weights directory is used."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from protector_models.checkpoints.cards import CheckpointCard, CheckpointError
from protector_models.detectors.choice import describe_detector
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.weights_in_use import ACCURATE_FOLDER, PAIR_NAME, find_weights_in_use
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment
from protector_models.settings import DetectorSettings, Weights
from protector_models.training.detector import held_out
from protector_models.training.detector.detector_network import DetectorNetwork
from protector_models.training.detector.detector_recipe import DetectorRecipe, load_training_tokenizer
from protector_models.training.detector.packaging import package_detector
from protector_models.training.detector.pairing import PairPlan, pair_detectors
from tests.protector_models.training.builders import make_example

pytestmark = pytest.mark.training

VALIDATION = [
    *(make_example(response=f"steal {index}") for index in range(30)),
    *(make_example(response=f"bake {index}", harmful=0.0, is_benign_set=True) for index in range(30)),
]
EXCHANGES = [Exchange(prompt="How?", response="Steal it. Then bake it."), Exchange(prompt="", response="Bake 7.")]


@pytest.fixture(autouse=True)
def _compose_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "_NUM_COMPOSED", 10)


def _package(encoder: Path, tokenizer_directory: Path, directory: Path, *, seed: int) -> CheckpointCard:
    torch.manual_seed(seed)
    return package_detector(
        DetectorNetwork.from_pretrained(encoder).eval(),
        None,
        VALIDATION,
        tokenizer=load_training_tokenizer(tokenizer_directory),
        tokenizer_directory=tokenizer_directory,
        directory=directory,
        recipe=DetectorRecipe(),
        num_threads=1,
        report_rows=lambda _: None,
        origin={},
        name="tiny",
    )


@pytest.fixture
def directory(tiny_encoder: Path, tiny_larger_encoder: Path, tmp_path: Path) -> Path:
    _package(tiny_encoder, tiny_encoder, tmp_path, seed=1)
    _package(tiny_larger_encoder, tiny_encoder, tmp_path / ACCURATE_FOLDER, seed=2)
    return tmp_path


@pytest.fixture
def tokenizer(tiny_encoder: Path) -> Tokenizer:
    return load_training_tokenizer(tiny_encoder)


def _pair(directory: Path, tokenizer: Tokenizer, plan: PairPlan) -> CheckpointCard:
    return pair_detectors(
        directory, VALIDATION, tokenizer=tokenizer, plan=plan, num_threads=1, report_rows=lambda _: None
    )


def _assess(directory: Path, weights: Weights) -> list[float]:
    outcomes = OnnxHarmDetector.load(directory, num_threads=1, weights=weights).assess(EXCHANGES)
    scores = [outcome.harmfulness for outcome in outcomes if isinstance(outcome, Assessment)]
    assert len(scores) == len(EXCHANGES)
    return scores


def test_a_pair_is_served_with_the_thresholds_that_were_chosen_for_it(directory: Path, tokenizer: Tokenizer) -> None:
    card = _pair(directory, tokenizer, PairPlan(low=0.0, high=1.0, accurate_share=1.0))
    assert card.name == PAIR_NAME
    assert card.validation["share_read_by_both"] == 1.0
    detector = OnnxHarmDetector.load(directory, num_threads=1)
    facts = describe_detector(DetectorSettings(checkpoint=directory))
    assert detector.threshold == facts.threshold == card.threshold
    assert detector.revision.startswith(f"{PAIR_NAME}@")
    # Where the accurate one has all the say, the pair says what it says.
    assert _assess(directory, "both") == pytest.approx(_assess(directory, "accurate"), abs=1e-3)
    assert _assess(directory, "both") != _assess(directory, "fast")


def test_revisions_tell_one_detector_from_two_and_one_plan_from_another(directory: Path, tokenizer: Tokenizer) -> None:
    revisions = set()
    for plan in (PairPlan(), PairPlan(low=0.3)):
        _pair(directory, tokenizer, plan)
        ways: tuple[Weights, ...] = ("both", "fast", "accurate")
        revisions |= {OnnxHarmDetector.load(directory, num_threads=1, weights=way).revision for way in ways}
    assert len(revisions) == 4


def test_two_that_were_never_paired_are_refused_together_and_serve_alone(directory: Path) -> None:
    with pytest.raises(CheckpointError, match="it is paired with none: run `weir train pair`"):
        find_weights_in_use(directory, "both")
    assert len(_assess(directory, "fast")) == len(_assess(directory, "accurate")) == 2


def test_another_fast_detector_is_refused(directory: Path, tiny_encoder: Path, tokenizer: Tokenizer) -> None:
    _pair(directory, tokenizer, PairPlan())
    network = DetectorNetwork.from_pretrained(tiny_encoder)
    with torch.no_grad():
        for parameter in network.encoder.parameters():
            parameter.mul_(1.5)
    changed = directory.parent / "changed"
    network.encoder.save_pretrained(changed)
    _package(changed, tiny_encoder, directory, seed=3)
    with pytest.raises(CheckpointError, match="it is paired with another"):
        find_weights_in_use(directory, "both")


def test_other_calibrations_of_the_fast_detector_are_refused(directory: Path, tokenizer: Tokenizer) -> None:
    _pair(directory, tokenizer, PairPlan())
    card = CheckpointCard.load(directory)
    first, *others = card.calibrations
    card.model_copy(update={"calibrations": (first.model_copy(update={"bias": first.bias + 0.1}), *others)}).save(
        directory
    )
    with pytest.raises(CheckpointError, match="it is paired with another"):
        find_weights_in_use(directory, "both")


def test_a_folder_in_which_training_has_not_ended_is_passed_over(tiny_encoder: Path, tmp_path: Path) -> None:
    _package(tiny_encoder, tiny_encoder, tmp_path, seed=1)
    (tmp_path / ACCURATE_FOLDER / "checkpoint").mkdir(parents=True)
    assert find_weights_in_use(tmp_path, "both").pair is None


def test_a_damaged_accurate_detector_is_refused(directory: Path, tokenizer: Tokenizer) -> None:
    _pair(directory, tokenizer, PairPlan())
    heads = directory / ACCURATE_FOLDER / "heads.safetensors"
    heads.write_bytes(heads.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"heads\.safetensors: SHA-256"):
        find_weights_in_use(directory, "both")
    assert find_weights_in_use(directory, "fast").card.name == "tiny"


def test_a_directory_without_an_accurate_one_is_served_alone_and_says_so_where_it_is_asked_for(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    _package(tiny_encoder, tiny_encoder, tmp_path, seed=1)
    assert find_weights_in_use(tmp_path, "both").pair is None
    with pytest.raises(CheckpointError, match=r"accurate/card\.json: cannot be read"):
        find_weights_in_use(tmp_path, "accurate")
