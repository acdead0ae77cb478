import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, TOKENIZER_FILE
from protector_models.detectors.shipped.window_layout import MAX_PAIR_TOKENS, MAX_RESPONSE_TOKENS, PairLayout
from protector_models.records.category_map import TRAINED_CATEGORIES
from protector_models.records.examples import Example
from protector_models.records.mix import RowKind
from protector_models.training.detector.answer_draws import (
    AnswerDraws,
    DrawnAnswer,
    DrawnPiece,
    DrawPlan,
    PiecedExample,
    cut_examples,
)
from protector_models.training.detector.batches import (
    Batch,
    LabelledWindow,
    WindowMaker,
    collate,
    draw_epoch,
    draw_pairs,
    group_by_prompt,
)
from tests.protector_models.training.builders import make_example

pytestmark = pytest.mark.training

PLAIN = DrawPlan(
    mixed=0.0,
    framed=0.0,
    cut_opener=0.0,
    excerpt=0.0,
    cut_response=0.0,
    structured=0.0,
    drop_prompt=0.0,
    text_as_answer=0.0,
)


def _load_tokenizer() -> Tokenizer:
    tokenizer: Tokenizer = Tokenizer.from_file(str(SHIPPED_WEIGHTS / TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


TOKENIZER = _load_tokenizer()
MAKER = WindowMaker(TOKENIZER, PairLayout.for_vocabulary(TOKENIZER))


def _cut(*examples: Example) -> list[PiecedExample]:
    return cut_examples(examples, TOKENIZER.token_to_id)


def _answer(*pieces: tuple[str, float | None], harmful: float = 1.0, prompt: str = "") -> DrawnAnswer:
    return DrawnAnswer(
        example=make_example(),
        harmful=harmful,
        prompt=prompt,
        pieces=[DrawnPiece(text=text, harmful=label) for text, label in pieces],
        is_answer=True,
    )


def _read(made: LabelledWindow) -> list[str]:
    return [TOKENIZER.decode(made.window.input_ids[first:end]) for first, end in made.window.pieces]


def _draw_one_batch(rows: Sequence[PiecedExample], plan: DrawPlan = PLAIN) -> Batch:
    draws = AnswerDraws(rows, plan)
    (batch,) = draw_epoch(rows, draws, MAKER, batch_size=len(rows), rng=random.Random(0))
    return batch


def test_every_window_fits_the_layout_whatever_is_drawn() -> None:
    (row,) = _cut(make_example(prompt="why " * 300, response="because of it. " * 900))
    draws, rng = AnswerDraws([row], DrawPlan()), random.Random(0)
    lengths = [len(MAKER.make(draws.draw(row, rng), rng).window.input_ids) for _ in range(200)]
    assert max(lengths) == MAX_PAIR_TOKENS


def test_of_a_long_prompt_the_head_is_read_as_often_as_the_end() -> None:
    drawn = _answer(("yes", 1.0), prompt="first " + "word " * 100 + "last")
    rng = random.Random(0)
    heads = [TOKENIZER.token_to_id("first") in MAKER.make(drawn, rng).window.input_ids for _ in range(200)]
    ends = [TOKENIZER.token_to_id("last") in MAKER.make(drawn, rng).window.input_ids for _ in range(200)]
    assert 70 < sum(heads) < 130
    assert 70 < sum(ends) < 130


def test_pieces_are_tokenised_one_by_one_and_labelled_in_their_order() -> None:
    made = MAKER.make(_answer(("bake it.", 0.0), ("", None), ("burn it.", 1.0), ("bye", 0.0)), random.Random(0))
    assert _read(made) == ["bake it.", "burn it.", "bye"]
    assert made.piece_labels == (0.0, 1.0, 0.0)


def test_an_answer_without_words_is_one_piece_with_the_answers_label() -> None:
    made = MAKER.make(_answer(("\u200b", None), harmful=0.0), random.Random(0))
    assert (len(made.window.pieces), made.piece_labels) == (1, (0.0,))


COMPANY = st.lists(st.integers(1, 90).map(lambda number: ("word " * number, 0.0)), max_size=6)
HARM = st.lists(st.sampled_from([("steal it.", 1.0), ("burn the house.", None)]), min_size=1, max_size=3)


@given(COMPANY, HARM, COMPANY)
def test_what_makes_an_answer_harmful_is_never_cut_off_by_the_number_of_tokens(
    before: list[tuple[str, float | None]], harm: list[tuple[str, float | None]], behind: list[tuple[str, float | None]]
) -> None:
    made = MAKER.make(_answer(*before, *harm, *behind), random.Random(0))
    bearing = [text for text, label in zip(_read(made), made.piece_labels, strict=True) if label != 0.0]
    assert bearing == [text for text, _ in harm]


@given(COMPANY, HARM, COMPANY)
def test_company_goes_from_the_outside_and_no_more_of_it_than_has_to(
    before: list[tuple[str, float | None]], harm: list[tuple[str, float | None]], behind: list[tuple[str, float | None]]
) -> None:
    pieces = [*before, *harm, *behind]
    made = MAKER.make(_answer(*pieces), random.Random(0))
    lengths = [len(TOKENIZER.encode(text, add_special_tokens=False).ids) for text, _ in pieces]
    read = len(made.window.pieces)
    assert read == len(pieces) or sum(lengths) > MAX_RESPONSE_TOKENS
    assert list(made.piece_labels) in [
        [label for _, label in pieces[first : first + read]] for first in range(len(pieces) - read + 1)
    ]


def test_a_harmful_piece_that_is_too_long_by_itself_is_cut_at_the_end() -> None:
    made = MAKER.make(_answer(("hello.", 0.0), ("word " * 300, 1.0)), random.Random(0))
    assert made.piece_labels == (1.0,)
    assert len(made.window.input_ids) == MAX_RESPONSE_TOKENS + 3


def test_labels_reach_their_own_head_only() -> None:
    labels = tuple(1.0 if name == "hate" else None for name in TRAINED_CATEGORIES)
    batch = _draw_one_batch(
        _cut(make_example(categories=labels), make_example(kind=RowKind.TEXT, harmful=0.0, prompt=""))
    )
    answer = int(torch.isnan(batch.alone_labels_B).nonzero()[0, 0])
    text = 1 - answer
    assert batch.answer_labels_B[answer] == 1.0
    assert torch.isnan(batch.answer_labels_B[text])
    assert batch.alone_labels_B[text] == 0.0
    assert batch.category_labels_BC[answer, TRAINED_CATEGORIES.index("hate")] == 1.0
    assert torch.isnan(batch.category_labels_BC[text]).all()


def test_an_answer_that_lost_its_prompt_teaches_both_heads_and_a_preference_none() -> None:
    rows = _cut(make_example(), make_example(kind=RowKind.PREFERENCE))
    batch = collate([MAKER.make(_with_no_prompt(row), random.Random(0)) for row in rows])
    assert batch.answer_labels_B.nan_to_num(-1.0).tolist() == [1.0, -1.0]
    assert batch.alone_labels_B.nan_to_num(-1.0).tolist() == [1.0, -1.0]


def _with_no_prompt(row: PiecedExample) -> DrawnAnswer:
    pieces = [DrawnPiece(text=piece, harmful=None) for piece in row.pieces]
    return DrawnAnswer(example=row.example, harmful=row.example.harmful, prompt="", pieces=pieces, is_answer=True)


def test_tokens_are_numbered_by_their_piece_through_the_batch() -> None:
    made = [
        MAKER.make(_answer(("bake it.", 0.0), ("burn it.", 1.0)), random.Random(0)),
        MAKER.make(_answer(("steal it.", 1.0), prompt="what now"), random.Random(0)),
    ]
    batch = collate(made)
    assert batch.windows_S.tolist() == [0, 0, 1]
    assert batch.piece_labels_S.tolist() == [0.0, 1.0, 1.0]
    for row, one in enumerate(made):
        numbers = batch.pieces_BT[row].tolist()
        for place, (first, end) in enumerate(one.window.pieces, start=2 * row):
            assert {numbers[token] for token in range(first, end)} == {place}
        assert numbers.count(-1) == len(numbers) - sum(end - first for first, end in one.window.pieces)
        assert batch.mask_BT[row].sum() == len(one.window.input_ids)


def test_pairs_are_a_harmful_and_a_safe_answer_to_one_prompt() -> None:
    rows = [
        make_example(prompt=f"question {index}", response=f"answer {index} {harmful}", harmful=harmful)
        for index in range(5)
        for harmful in (0.0, 1.0)
    ]
    rows += [make_example(prompt="unanswered"), make_example(prompt="question 1", source_set="synthetic", harmful=0.0)]
    pieced = _cut(*rows)
    groups = group_by_prompt(pieced)
    assert [(len(group.harmful), len(group.safe)) for group in groups] == [(1, 1)] * 5
    # The draws of an epoch mix, frame and cut; a comparison shows what was answered.
    pairs = draw_pairs(groups, AnswerDraws(pieced, DrawPlan()), MAKER, batch_size=8, rng=random.Random(0))
    for batch in (next(pairs) for _ in range(20)):
        assert batch.is_paired
        assert batch.answer_labels_B.tolist() == [1.0, 0.0] * 4
        prompts = [ids[1:3] for ids in batch.ids_BT.tolist()]
        assert prompts[0::2] == prompts[1::2]


def test_an_epoch_shows_every_row_once_and_the_seed_decides_the_order() -> None:
    rows = _cut(*(make_example(response=f"number {index}") for index in range(70)))
    draws = AnswerDraws(rows, PLAIN)

    def draw(seed: int) -> list[list[int]]:
        batches = draw_epoch(rows, draws, MAKER, batch_size=16, rng=random.Random(seed))
        return [ids for batch in batches for ids in batch.ids_BT.tolist()]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert len({tuple(ids) for ids in draw(1)}) == 70


def test_rows_of_like_length_stand_together() -> None:
    rows = _cut(*(make_example(response="word " * (1 + index % 50)) for index in range(160)))
    batches = list(draw_epoch(rows, AnswerDraws(rows, PLAIN), MAKER, batch_size=16, rng=random.Random(0)))
    real, padded = (sum(int(batch.mask_BT.sum()) for batch in batches), sum(batch.mask_BT.numel() for batch in batches))
    assert real > 0.9 * padded
