import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from protector_models.detectors.prompts import PairLayout
from protector_models.training.batches import CutPlan, EncodedExample, draw_pairs, encode_examples, group_by_prompt
from protector_models.training.category_map import TRAINED_CATEGORIES
from protector_models.training.detector_network import DetectorNetwork
from protector_models.training.detector_recipe import (
    DetectorRecipe,
    load_training_tokenizer,
    train_detector,
)
from protector_models.training.resumable import TrainingProgress
from protector_models.training.sources import RowKind
from tests.protector_models.training.builders import make_example

RECIPE = DetectorRecipe(num_steps=6, batch_size=4, checkpoint_every=2)
FAST = DetectorRecipe(num_steps=22, batch_size=8, encoder_lr=1e-2, head_lr=3e-2)


@pytest.fixture
def rows(tiny_encoder: Path) -> list[EncodedExample]:
    labels = tuple(1.0 if name == "illicit" else 0.0 for name in TRAINED_CATEGORIES)
    harmful = [make_example(response=f"steal and burn it {i}", categories=labels) for i in range(24)]
    safe = [make_example(response=f"bake some bread {i}", harmful=0.0) for i in range(24)]
    return encode_examples(harmful + safe, load_training_tokenizer(tiny_encoder))


class StoppedError(Exception):
    """Stands for a run that is stopped from outside."""


def _ignore(_: TrainingProgress) -> None:
    return


def _train(
    rows: list[EncodedExample],
    encoder: Path,
    out: Path,
    recipe: DetectorRecipe = RECIPE,
    report: Callable[[TrainingProgress], None] = _ignore,
) -> DetectorNetwork:
    layout = PairLayout.for_vocabulary(load_training_tokenizer(encoder))
    return train_detector(
        rows, layout, encoder_directory=encoder, checkpoint_directory=out, recipe=recipe, report=report
    )


def test_the_loss_falls(rows: list[EncodedExample], tiny_encoder: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    _train(rows, tiny_encoder, tmp_path, FAST, lambda progress: losses.append(progress.loss))
    assert len(losses) == FAST.num_steps
    # A running mean is reported, so the end still carries the beginning.
    assert losses[-1] < 0.9 * losses[0]


def test_an_interrupted_run_goes_on_to_the_same_weights(
    rows: list[EncodedExample], tiny_encoder: Path, tmp_path: Path
) -> None:
    whole = _train(rows, tiny_encoder, tmp_path / "whole")

    def stop(progress: TrainingProgress) -> None:
        if progress.step == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        _train(rows, tiny_encoder, tmp_path / "cut", report=stop)
    resumed = _train(rows, tiny_encoder, tmp_path / "cut")
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_checkpoint_of_another_recipe_is_refused_by_the_names_of_what_differs(
    rows: list[EncodedExample], tiny_encoder: Path, tmp_path: Path
) -> None:
    _train(rows, tiny_encoder, tmp_path)
    other = replace(RECIPE, seed=2)
    with pytest.raises(ValueError, match="differs in seed"):
        _train(rows, tiny_encoder, tmp_path, other)


def test_the_word_embeddings_stay_as_they_were(rows: list[EncodedExample], tiny_encoder: Path, tmp_path: Path) -> None:
    before = DetectorNetwork.from_pretrained(tiny_encoder).encoder.embeddings.word_embeddings.weight
    after = _train(rows, tiny_encoder, tmp_path).encoder.embeddings.word_embeddings.weight
    assert torch.equal(before, after)


def test_ranking_alone_puts_the_preferred_answer_below(tiny_encoder: Path, tmp_path: Path) -> None:
    tokenizer = load_training_tokenizer(tiny_encoder)
    preferences = [
        make_example(kind=RowKind.PREFERENCE, prompt=f"what now {i}", response=words, harmful=harmful)
        for i in range(12)
        for words, harmful in (("steal and burn it", 1.0), ("bake some bread", 0.0))
    ]
    # One labelled row, because an epoch needs one; it says nothing of either answer.
    rows = encode_examples([*preferences, make_example(prompt="", response="hello", harmful=0.0)], tokenizer)
    recipe = replace(FAST, pairs_every=2, num_steps=30)
    network = _train(rows, tiny_encoder, tmp_path, recipe)
    layout = PairLayout.for_vocabulary(tokenizer)
    pairs = next(draw_pairs(group_by_prompt(rows), layout, CutPlan(), batch_size=8, rng=random.Random(1)))
    with torch.no_grad():
        logits_B = network(pairs.ids_BT, pairs.mask_BT, pairs.segments_BT).answer_B
    assert bool((logits_B[0::2] > logits_B[1::2]).all())


def test_a_mix_with_nothing_to_rank_is_an_error(tiny_encoder: Path, tmp_path: Path) -> None:
    rows = encode_examples([make_example()], load_training_tokenizer(tiny_encoder))
    with pytest.raises(ValueError, match="nothing to rank"):
        _train(rows, tiny_encoder, tmp_path)
