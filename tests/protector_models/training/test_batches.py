import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from protector_models.detectors.prompts import MAX_PAIR_TOKENS, PairLayout
from protector_models.training.batches import (
    CutPlan,
    cut_example,
    draw_epoch,
    draw_pairs,
    encode_examples,
    group_by_prompt,
)
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
    answer = int(torch.isnan(batch.alone_labels_B).nonzero()[0, 0])
    text = 1 - answer
    assert batch.answer_labels_B[answer] == 1.0
    assert torch.isnan(batch.answer_labels_B[text])
    assert batch.alone_labels_B[text] == 0.0
    assert batch.category_labels_BC[answer, TRAINED_CATEGORIES.index("hate")] == 1.0
    assert torch.isnan(batch.category_labels_BC[text]).all()


def test_an_answer_that_lost_its_prompt_teaches_both_heads_and_a_preference_none(tokenizer: Tokenizer) -> None:
    rows = encode_examples([make_example(), make_example(kind=RowKind.PREFERENCE)], tokenizer)
    plan = CutPlan(drop_prompt=1.0, cut_response=0.0)
    (batch,) = draw_epoch(rows, PairLayout.for_vocabulary(tokenizer), plan, batch_size=2, rng=random.Random(0))
    assert sorted(batch.answer_labels_B.nan_to_num(-1.0).tolist()) == [-1.0, 1.0]
    assert torch.equal(batch.alone_labels_B.nan_to_num(-1.0), batch.answer_labels_B.nan_to_num(-1.0))


def test_texts_are_read_in_their_normal_form(tokenizer: Tokenizer) -> None:
    plain, disguised = encode_examples(
        [make_example(response="steal"), make_example(response="\uff53\uff54\uff45\u200b\uff41\uff4c")], tokenizer
    )
    assert plain.response_ids == disguised.response_ids


def test_pairs_are_a_harmful_and_a_safe_answer_to_one_prompt_of_one_length(tokenizer: Tokenizer) -> None:
    long_answer = "steal and burn it " * 30
    rows = [
        make_example(prompt=f"question {index}", response=f"{long_answer} {index} {harmful}", harmful=harmful)
        for index in range(5)
        for harmful in (0.0, 1.0)
    ]
    rows += [make_example(prompt="unanswered"), make_example(prompt="question 1", source_set="synthetic", harmful=0.0)]
    groups = group_by_prompt(encode_examples(rows, tokenizer))
    assert [(len(group.harmful), len(group.safe)) for group in groups] == [(1, 1)] * 5
    layout = PairLayout.for_vocabulary(tokenizer)
    pairs = draw_pairs(groups, layout, CutPlan(keep_head=1.0), batch_size=8, rng=random.Random(0))
    lengths = set()
    for batch in (next(pairs) for _ in range(20)):
        assert batch.is_paired
        assert batch.answer_labels_B.tolist() == [1.0, 0.0] * 4
        sizes = batch.mask_BT.sum(1).tolist()
        assert sizes[0::2] == sizes[1::2]
        prompts = [ids[1:4] for ids in batch.ids_BT.tolist()]
        assert prompts[0::2] == prompts[1::2]
        lengths |= set(sizes)
    assert len(lengths) > 10


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
