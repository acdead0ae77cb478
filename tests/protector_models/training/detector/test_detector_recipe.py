import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from protector_models.detectors.shipped.window_aggregation import ALONE, ANSWER
from protector_models.detectors.shipped.window_layout import PairLayout
from protector_models.records.category_map import TRAINED_CATEGORIES
from protector_models.records.mix import RowKind
from protector_models.training.detector.answer_draws import AnswerDraws, DrawPlan, PiecedExample, cut_examples
from protector_models.training.detector.batches import Batch, WindowMaker, draw_pairs, group_by_prompt
from protector_models.training.detector.detector_network import NUM_LOGITS, DetectorLogits, DetectorNetwork, find_worst
from protector_models.training.detector.detector_recipe import (
    DetectorRecipe,
    begin_network,
    load_training_tokenizer,
    multitask_loss,
    train_detector,
)
from protector_models.training.resumable import TrainingProgress
from tests.protector_models.training.builders import make_example

pytestmark = pytest.mark.training

RECIPE = DetectorRecipe(num_steps=6, batch_size=4, checkpoint_every=2)
FAST = DetectorRecipe(num_steps=40, batch_size=8, encoder_lr=1e-2, head_lr=3e-2)


@pytest.fixture
def rows(tiny_encoder: Path) -> list[PiecedExample]:
    labels = tuple(1.0 if name == "illicit" else 0.0 for name in TRAINED_CATEGORIES)
    harmful = [make_example(response=f"steal and burn it {i}", categories=labels) for i in range(24)]
    safe = [make_example(response=f"bake some bread {i}", harmful=0.0) for i in range(24)]
    return cut_examples(harmful + safe, load_training_tokenizer(tiny_encoder).token_to_id)


class StoppedError(Exception):
    """Stands for a run that is stopped from outside."""


def _ignore(_: TrainingProgress) -> None:
    return


def _train(
    rows: list[PiecedExample],
    encoder: Path,
    out: Path,
    recipe: DetectorRecipe = RECIPE,
    report: Callable[[TrainingProgress], None] = _ignore,
) -> DetectorNetwork:
    return train_detector(
        rows,
        load_training_tokenizer(encoder),
        network=begin_network(encoder, recipe),
        checkpoint_directory=out,
        recipe=recipe,
        report=report,
    )


def test_the_loss_falls(rows: list[PiecedExample], tiny_encoder: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    _train(rows, tiny_encoder, tmp_path, FAST, lambda progress: losses.append(progress.loss))
    assert len(losses) == FAST.num_steps
    # A running mean is reported, so the end still carries the beginning.
    assert losses[-1] < 0.9 * losses[0]


def test_an_interrupted_run_goes_on_to_the_same_weights(
    rows: list[PiecedExample], tiny_encoder: Path, tmp_path: Path
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
    rows: list[PiecedExample], tiny_encoder: Path, tmp_path: Path
) -> None:
    _train(rows, tiny_encoder, tmp_path)
    other = replace(RECIPE, seed=2)
    with pytest.raises(ValueError, match="differs in seed"):
        _train(rows, tiny_encoder, tmp_path, other)


def test_the_word_embeddings_stay_as_they_were(rows: list[PiecedExample], tiny_encoder: Path, tmp_path: Path) -> None:
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
    labelled = make_example(prompt="", response="hello", harmful=0.0)
    rows = cut_examples([*preferences, labelled], tokenizer.token_to_id)
    recipe = replace(FAST, pairs_every=2, num_steps=30)
    network = _train(rows, tiny_encoder, tmp_path, recipe)
    maker = WindowMaker(tokenizer, PairLayout.for_vocabulary(tokenizer))
    draws = AnswerDraws(rows, DrawPlan())
    pairs = next(draw_pairs(group_by_prompt(rows), draws, maker, batch_size=8, rng=random.Random(1)))
    with torch.no_grad():
        logits_B = find_worst(network(pairs).pieces_SK[:, ANSWER], pairs.windows_S, 8)
    assert bool((logits_B[0::2] > logits_B[1::2]).all())


def test_a_mix_with_nothing_to_rank_is_an_error(tiny_encoder: Path, tmp_path: Path) -> None:
    rows = cut_examples([make_example()], load_training_tokenizer(tiny_encoder).token_to_id)
    with pytest.raises(ValueError, match="nothing to rank"):
        _train(rows, tiny_encoder, tmp_path)


def _batch(piece_labels: list[float], windows: list[int], answer_labels: list[float], **fields: object) -> Batch:
    num_windows = len(answer_labels)
    unread = torch.zeros(num_windows, 3, dtype=torch.int64)
    return replace(
        Batch(
            ids_BT=unread,
            mask_BT=unread,
            segments_BT=unread,
            pieces_BT=unread,
            windows_S=torch.tensor(windows),
            piece_labels_S=torch.tensor(piece_labels),
            answer_labels_B=torch.tensor(answer_labels),
            alone_labels_B=torch.full((num_windows,), torch.nan),
            category_labels_BC=torch.full((num_windows, len(TRAINED_CATEGORIES)), torch.nan),
            weights_B=torch.ones(num_windows),
            is_paired=False,
        ),
        **fields,  # type: ignore[arg-type]  # names of fields
    )


def _gradient(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the gradient of the loss by the logits of pieces and of wholes, at logits that grow with the place."""
    num_pieces, num_windows = len(batch.windows_S), len(batch.answer_labels_B)
    pieces_SK = (0.1 * torch.arange(num_pieces).unsqueeze(-1)).repeat(1, NUM_LOGITS).requires_grad_()
    whole_BK = torch.zeros(num_windows, NUM_LOGITS, requires_grad=True)
    multitask_loss(DetectorLogits(pieces_SK, whole_BK), batch, DetectorRecipe()).backward()  # type: ignore[no-untyped-call]  # torch
    assert pieces_SK.grad is not None
    assert whole_BK.grad is not None
    return pieces_SK.grad, whole_BK.grad


def test_an_answers_label_teaches_its_worst_piece_and_the_whole() -> None:
    pieces_SK, whole_BK = _gradient(_batch([torch.nan] * 3, [0, 0, 1], [1.0, 0.0]))
    assert (pieces_SK[:, ANSWER] != 0.0).tolist() == [False, True, True]
    # Down the gradient: the harmful answer's worst piece goes up, the safe one's down, and so do the wholes.
    assert pieces_SK[1, ANSWER] < 0.0 < pieces_SK[2, ANSWER]
    assert whole_BK[0, ANSWER] < 0.0 < whole_BK[1, ANSWER]
    assert not pieces_SK[:, ALONE].any()


def test_a_piece_whose_label_is_known_learns_it_whatever_the_answers_is() -> None:
    pieces_SK, _ = _gradient(_batch([0.0, torch.nan, 1.0, 0.0], [0] * 4, [1.0]))
    assert pieces_SK[0, ANSWER] > 0.0
    assert pieces_SK[1, ANSWER] == 0.0
    assert pieces_SK[2, ANSWER] < 0.0


def test_pieces_of_a_text_without_a_prompt_teach_the_head_of_its_own() -> None:
    batch = _batch([0.0, 1.0], [0, 0], [torch.nan], alone_labels_B=torch.tensor([1.0]))
    pieces_SK, whole_BK = _gradient(batch)
    assert not pieces_SK[:, ANSWER].any()
    assert pieces_SK[:, ALONE].all()
    assert whole_BK[0, ALONE] < 0.0


def test_the_worst_of_a_pair_are_ranked() -> None:
    batch = _batch([torch.nan] * 4, [0, 0, 1, 1], [torch.nan] * 2, is_paired=True)
    pieces_SK, whole_BK = _gradient(batch)
    assert (pieces_SK[:, ANSWER] != 0.0).tolist() == [False, True, False, True]
    assert pieces_SK[1, ANSWER] < 0.0 < pieces_SK[3, ANSWER]
    assert whole_BK[0, ANSWER] < 0.0 < whole_BK[1, ANSWER]


def test_categories_are_taught_to_the_piece_that_is_worst() -> None:
    labels = torch.full((1, len(TRAINED_CATEGORIES)), torch.nan)
    labels[0, 0] = 1.0
    pieces_SK, _ = _gradient(_batch([torch.nan] * 2, [0, 0], [1.0], category_labels_BC=labels))
    assert (pieces_SK[:, 2:] != 0.0).nonzero().tolist() == [[1, 0]]


def test_the_worst_piece_of_every_window_is_found() -> None:
    worst_B = find_worst(torch.tensor([1.0, -2.0, 5.0, 0.5]), torch.tensor([0, 1, 1, 0]), 2)
    assert worst_B.tolist() == [1.0, 5.0]
