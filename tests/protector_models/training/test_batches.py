import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from protector_models.prompts import MAX_PAIR_TOKENS, PairLayout
from protector_models.training.batches import CutPlan, cut_example, draw_epoch, encode_examples
from protector_models.training.category_map import TRAINED_CATEGORIES
from protector_models.training.detector_recipe import load_training_tokenizer
from protector_models.training.sources import RowKind
from tests.protector_models.training.builders import make_example

NO_CUTS = CutPlan(drop_prompt=0.0, cut_response=0.0, keep_head=1.0)


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder: Path) -> Tokenizer:
    return load_training_tokenizer(tiny_encoder)


def test_every_window_fits_the_layout_whatever_is_drawn(tokenizer: Tokenizer) -> None:
    layout = PairLayout.for_vocabulary(tokenizer)
    (row,) = encode_examples([make_example(prompt="why " * 300, response="because " * 900)], tokenizer)
    rng = random.Random(0)
    lengths = [len(cut_example(row, layout, CutPlan(), rng).input_ids) for _ in range(200)]
    assert max(lengths) == MAX_PAIR_TOKENS
    assert len(set(lengths)) > 50


def test_the_prompt_is_dropped_as_often_as_planned_but_never_from_synthetic_rows(tokenizer: Tokenizer) -> None:
    layout = PairLayout.for_vocabulary(tokenizer)
    natural, synthetic = encode_examples([make_example(), make_example(source_set="synthetic")], tokenizer)
    plan = CutPlan(drop_prompt=0.5, cut_response=0.0)
    rng = random.Random(0)
    sizes = [len(cut_example(natural, layout, plan, rng).input_ids) for _ in range(400)]
    assert 0.4 < sizes.count(min(sizes)) / 400 < 0.6
    assert len({len(cut_example(synthetic, layout, plan, rng).input_ids) for _ in range(50)}) == 1


def test_labels_reach_their_own_head_only(tokenizer: Tokenizer) -> None:
    labels = tuple(1.0 if name == "hate" else None for name in TRAINED_CATEGORIES)
    rows = encode_examples(
        [make_example(categories=labels), make_example(kind=RowKind.TEXT, harmful=0.0, prompt="")], tokenizer
    )
    (batch,) = draw_epoch(rows, PairLayout.for_vocabulary(tokenizer), NO_CUTS, batch_size=2, rng=random.Random(0))
    answer = int(torch.isnan(batch.text_labels_B).nonzero()[0, 0])
    text = 1 - answer
    assert batch.answer_labels_B[answer] == 1.0
    assert torch.isnan(batch.answer_labels_B[text])
    assert batch.text_labels_B[text] == 0.0
    assert batch.category_labels_BC[answer, TRAINED_CATEGORIES.index("hate")] == 1.0
    assert torch.isnan(batch.category_labels_BC[text]).all()


def test_an_epoch_shows_every_row_once_and_the_seed_decides_the_order(tokenizer: Tokenizer) -> None:
    rows = encode_examples([make_example(response=f"number {index}") for index in range(70)], tokenizer)
    layout = PairLayout.for_vocabulary(tokenizer)

    def draw(seed: int) -> list[list[int]]:
        batches = draw_epoch(rows, layout, NO_CUTS, batch_size=16, rng=random.Random(seed))
        return [ids for batch in batches for ids in batch.ids_BT.tolist()]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert len({tuple(ids) for ids in draw(1)}) == 70


def test_rows_that_teach_nothing_are_left_out(tokenizer: Tokenizer) -> None:
    assert encode_examples([make_example(harmful=None, categories=None)], tokenizer) == []
