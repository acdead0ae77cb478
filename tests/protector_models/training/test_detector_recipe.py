from dataclasses import replace
from pathlib import Path

import pytest
import torch

from protector_models.training.category_map import TRAINED_CATEGORIES
from protector_models.training.detector_network import DetectorNetwork
from protector_models.training.detector_recipe import DetectorRecipe, TrainingProgress, train_detector
from protector_models.training.examples import ExampleSplit
from tests.protector_models.training.builders import make_example

RECIPE = DetectorRecipe(num_steps=6, batch_size=4, checkpoint_every=2)
FAST = DetectorRecipe(num_steps=22, batch_size=8, encoder_lr=1e-2, head_lr=3e-2)


@pytest.fixture
def split() -> ExampleSplit:
    labels = tuple(1.0 if name == "illicit" else 0.0 for name in TRAINED_CATEGORIES)
    harmful = [make_example(response=f"steal and burn it {i}", categories=labels) for i in range(24)]
    safe = [make_example(response=f"bake some bread {i}", harmful=0.0) for i in range(24)]
    return ExampleSplit(training=harmful + safe, validation=[])


class StoppedError(Exception):
    """Stands for a run that is stopped from outside."""


def _ignore(_: TrainingProgress) -> None:
    return


def _train(split: ExampleSplit, encoder: Path, out: Path, recipe: DetectorRecipe = RECIPE) -> DetectorNetwork:
    return train_detector(split, encoder_directory=encoder, checkpoint_directory=out, recipe=recipe, report=_ignore)


def test_the_loss_falls(split: ExampleSplit, tiny_encoder: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    train_detector(
        split,
        encoder_directory=tiny_encoder,
        checkpoint_directory=tmp_path,
        recipe=FAST,
        report=lambda progress: losses.append(progress.loss),
    )
    assert len(losses) == FAST.num_steps
    # A running mean is reported, so the end still carries the beginning.
    assert losses[-1] < 0.9 * losses[0]


def test_an_interrupted_run_goes_on_to_the_same_weights(
    split: ExampleSplit, tiny_encoder: Path, tmp_path: Path
) -> None:
    whole = _train(split, tiny_encoder, tmp_path / "whole")

    def stop(progress: TrainingProgress) -> None:
        if progress.step == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_detector(
            split,
            encoder_directory=tiny_encoder,
            checkpoint_directory=tmp_path / "cut",
            recipe=RECIPE,
            report=stop,
        )
    resumed = _train(split, tiny_encoder, tmp_path / "cut")
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_checkpoint_of_another_recipe_is_refused_by_the_names_of_what_differs(
    split: ExampleSplit, tiny_encoder: Path, tmp_path: Path
) -> None:
    _train(split, tiny_encoder, tmp_path)
    other = replace(RECIPE, seed=2)
    with pytest.raises(ValueError, match="differs in seed"):
        _train(split, tiny_encoder, tmp_path, other)


def test_the_word_embeddings_stay_as_they_were(split: ExampleSplit, tiny_encoder: Path, tmp_path: Path) -> None:
    before = DetectorNetwork.from_pretrained(tiny_encoder).encoder.embeddings.word_embeddings.weight
    after = _train(split, tiny_encoder, tmp_path).encoder.embeddings.word_embeddings.weight
    assert torch.equal(before, after)
