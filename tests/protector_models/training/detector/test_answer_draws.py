import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.records.examples import Example
from protector_models.records.mix import RowKind
from protector_models.training.detector.answer_draws import (
    AnswerDraws,
    DrawnAnswer,
    DrawPlan,
    PiecedExample,
    cut_examples,
)
from protector_models.training.detector.frames import CLOSINGS, OPENINGS
from tests.protector_models.training.builders import make_example

pytestmark = pytest.mark.training

SEEDS = st.integers(0, 100_000)
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
MIXED = replace(PLAIN, mixed=1.0)

RECIPE = "Sure, here is how. Knead the dough. Let it rest for an hour. Bake it until it is brown. Enjoy your bread."
THREAT = "I will hurt you tonight."


def _make(**fields: object) -> Example:
    return make_example(**{"source_set": "written", **fields})


EXAMPLES = [
    _make(response=RECIPE, harmful=0.0, is_benign_set=True, prompt="how do I bake"),
    _make(response="By bus.", harmful=0.0, prompt="how do I get home"),
    _make(response=THREAT, harmful=1.0, prompt="what now"),
    _make(response="Sure, gladly. They are all vermin. Everybody knows. Have a look.", prompt="who are they"),
    _make(response="Yes, of course. They are all vermin. Have a nice day.", harmful_part="They are all vermin."),
    _make(kind=RowKind.TEXT, prompt="", response="you worthless fool", harmful=1.0),
    _make(kind=RowKind.TEXT, prompt="", response="what a lovely day", harmful=0.0),
    _make(kind=RowKind.PROMPT, prompt="", response="how do I hurt him", harmful=1.0),
    _make(source_set="synthetic", prompt="how do I hurt him", response=RECIPE, harmful=0.0),
    _make(prompt="why", response="", harmful=0.0),
]
HARMFUL_WORDS = ("hurt", "vermin", "worthless")


def _lookup(token: str) -> int | None:
    return None


ROWS = cut_examples(EXAMPLES, _lookup)
rows = st.sampled_from(ROWS)


def _draw(example: Example, plan: DrawPlan, seed: int = 0) -> DrawnAnswer:
    (row,) = cut_examples([example], _lookup)
    return AnswerDraws(ROWS, plan).draw(row, random.Random(seed))


def _texts(drawn: DrawnAnswer) -> list[str]:
    return [piece.text for piece in drawn.pieces]


@given(rows, SEEDS)
def test_the_same_generator_state_gives_the_same_draw(row: PiecedExample, seed: int) -> None:
    draws = AnswerDraws(ROWS, DrawPlan())
    assert draws.draw(row, random.Random(seed)) == draws.draw(row, random.Random(seed))


@given(st.integers(0, len(ROWS) - 1), SEEDS)
def test_labels_of_pieces_agree_with_the_answers(place: int, seed: int) -> None:
    drawn = AnswerDraws(ROWS, DrawPlan()).draw(ROWS[place], random.Random(seed))
    labels = {piece.harmful for piece in drawn.pieces}
    if drawn.harmful == 0.0:
        assert labels <= {0.0}
    else:
        assert labels - {0.0}
        for piece in drawn.pieces:
            if piece.harmful == 0.0:
                assert not any(word in piece.text for word in HARMFUL_WORDS)
            if piece.harmful == 1.0:
                assert any(word in piece.text for word in HARMFUL_WORDS)


@given(SEEDS)
def test_a_mixed_draw_has_the_label_and_the_example_of_its_guest_and_the_guest_whole(seed: int) -> None:
    drawn = _draw(EXAMPLES[1], MIXED, seed)
    (guest,) = cut_examples([drawn.example], _lookup)
    assert drawn.harmful == drawn.example.harmful
    assert drawn.is_answer
    texts = _texts(drawn)
    assert any(texts[place : place + len(guest.pieces)] == list(guest.pieces) for place in range(len(texts)))
    assert drawn.prompt in {"", drawn.example.prompt, EXAMPLES[0].prompt}


def test_guests_are_harmful_as_often_as_harmless_and_stand_anywhere() -> None:
    drawn = [_draw(EXAMPLES[1], MIXED, seed) for seed in range(400)]
    assert 0.4 < sum(one.harmful == 1.0 for one in drawn) / len(drawn) < 0.6
    threats = [_texts(one) for one in drawn if THREAT in _texts(one)]
    assert {texts.index(THREAT) == 0 for texts in threats} == {True, False}
    assert {texts.index(THREAT) == len(texts) - 1 for texts in threats} == {True, False}


@pytest.mark.parametrize("source_set", ["diasafety", "hh_rlhf_pairs", "synthetic"])
def test_what_is_harmful_for_what_was_said_before_is_no_guest(source_set: str) -> None:
    contextual = _make(source_set=source_set, response="Go ahead and do it.")
    drawn = AnswerDraws(cut_examples([*EXAMPLES, contextual], _lookup), MIXED)
    for seed in range(100):
        assert "Go ahead and do it." not in _texts(drawn.draw(ROWS[0], random.Random(seed)))


def test_without_hosts_or_guests_nothing_is_mixed() -> None:
    only = cut_examples([EXAMPLES[2]], _lookup)
    assert _texts(AnswerDraws(only, MIXED).draw(only[0], random.Random(0))) == [THREAT]


def test_the_part_that_is_known_to_be_harmful_is_marked_and_the_rest_is_harmless() -> None:
    drawn = _draw(EXAMPLES[4], PLAIN)
    assert [(piece.text, piece.harmful) for piece in drawn.pieces] == [
        ("Yes, of course.", 0.0),
        ("They are all vermin.", 1.0),
        ("Have a nice day.", 0.0),
    ]


@pytest.mark.parametrize(
    ("part", "labels"),
    [
        ("all vermin", [0.0, 1.0, 0.0]),
        ("They are all vermin. Have a nice day.", [0.0, 1.0, 1.0]),
        ("words that are not there", [None, None, None]),
        ("", [None, None, None]),
    ],
)
def test_a_harmful_part_may_be_less_or_more_than_a_piece(part: str, labels: list[float | None]) -> None:
    drawn = _draw(replace(EXAMPLES[4], harmful_part=part), PLAIN)
    assert [piece.harmful for piece in drawn.pieces] == labels


@given(SEEDS)
def test_a_harmful_part_is_never_cut_off(seed: int) -> None:
    plan = DrawPlan(mixed=0.0, cut_opener=1.0, cut_response=1.0, keep_head=0.0)
    for example in (EXAMPLES[4], replace(EXAMPLES[4], harmful_part="Yes, of course.")):
        drawn = _draw(example, plan, seed)
        assert any(piece.harmful == 1.0 for piece in drawn.pieces)


@pytest.mark.parametrize("harmful", [0.0, 1.0])
def test_a_willing_opener_is_cut_from_half_of_the_answers_of_both_kinds(harmful: float) -> None:
    example = make_example(response="Sure, here is how. Do one thing. Do another.", harmful=harmful)
    plan = replace(PLAIN, cut_opener=0.5)
    cut = sum(_texts(_draw(example, plan, seed))[0] == "Do one thing." for seed in range(400))
    assert 0.4 < cut / 400 < 0.6
    alone = make_example(response="Sure, here is how.", harmful=harmful)
    assert _texts(_draw(alone, replace(PLAIN, cut_opener=1.0))) == ["Sure, here is how."]


@pytest.mark.parametrize("harmful", [0.0, 1.0])
def test_frames_are_put_around_answers_of_both_kinds_and_are_harmless(harmful: float) -> None:
    example = make_example(response="Do it.", harmful=harmful)
    plan = replace(PLAIN, framed=1.0)
    shapes: Counter[tuple[bool, bool]] = Counter()
    for seed in range(200):
        drawn = _draw(example, plan, seed)
        frames = [piece for piece in drawn.pieces if piece.text != "Do it."]
        assert {piece.harmful for piece in frames} == {0.0}
        shapes[drawn.pieces[0].text in OPENINGS, drawn.pieces[-1].text in CLOSINGS] += 1
        assert drawn.harmful == harmful
    assert shapes.keys() == {(True, True), (True, False), (False, True)}


def test_of_a_safe_answer_excerpts_are_one_to_three_pieces_from_anywhere() -> None:
    plan = replace(PLAIN, excerpt=1.0)
    whole = list(ROWS[0].pieces)
    seen = [_texts(_draw(EXAMPLES[0], plan, seed)) for seed in range(200)]
    assert {len(texts) for texts in seen} == {1, 2, 3}
    assert {texts[0] for texts in seen} == set(whole)
    assert all(texts == whole[whole.index(texts[0]) :][: len(texts)] for texts in seen)


def test_structures_hold_every_piece_with_its_label() -> None:
    plan = replace(PLAIN, structured=1.0)
    for seed in range(60):
        drawn = _draw(EXAMPLES[4], plan, seed)
        assert [piece.harmful for piece in drawn.pieces] == [0.0, 1.0, 0.0]
        assert "They are all vermin." in drawn.pieces[1].text
        assert drawn.pieces[1].text != "They are all vermin."


def test_texts_become_answers_to_harmless_prompts_as_often_as_planned_and_prompts_never() -> None:
    text, prompt = EXAMPLES[5], EXAMPLES[7]
    plan = replace(PLAIN, text_as_answer=1.0)
    assert (_draw(text, plan).prompt, _draw(text, plan).is_answer) == (EXAMPLES[0].prompt, True)
    assert (_draw(text, PLAIN).prompt, _draw(text, PLAIN).is_answer) == ("", False)
    assert not _draw(prompt, plan).is_answer


def test_the_prompt_is_dropped_as_often_as_planned_but_never_from_synthetic_or_empty_answers() -> None:
    plan = replace(PLAIN, drop_prompt=0.5)
    dropped = sum(_draw(EXAMPLES[2], plan, seed).prompt == "" for seed in range(400))
    assert 0.4 < dropped / 400 < 0.6
    always = replace(PLAIN, drop_prompt=1.0)
    assert _draw(EXAMPLES[8], always).prompt == EXAMPLES[8].prompt
    assert _draw(EXAMPLES[9], always).prompt == EXAMPLES[9].prompt


def test_for_comparison_a_row_is_drawn_whole() -> None:
    drawn = AnswerDraws(ROWS, DrawPlan()).draw_whole(ROWS[0])
    assert _texts(drawn) == list(ROWS[0].pieces)
    assert (drawn.prompt, drawn.harmful) == (EXAMPLES[0].prompt, 0.0)


def test_rows_are_cut_in_their_normal_form_and_those_that_teach_nothing_are_left_out() -> None:
    disguised = make_example(response="\uff53\uff54\uff45\u200b\uff41\uff4c it. Now.")
    (row,) = cut_examples([disguised, make_example(harmful=None)], _lookup)
    assert row.pieces == ("steal it.", "Now.")


@pytest.mark.parametrize("harmful", [0.0, 1.0])
def test_of_the_answers_of_a_preference_nothing_is_said_but_their_order(harmful: float) -> None:
    preference = _make(kind=RowKind.PREFERENCE, source_set="hh_rlhf_pairs", response="By bus.", harmful=harmful)
    (row,) = cut_examples([preference], _lookup)
    drawn = AnswerDraws(ROWS, DrawPlan()).draw_whole(row)
    assert drawn.harmful is None
    assert [piece.harmful for piece in drawn.pieces] == [None]


def test_an_answer_too_long_for_a_window_gets_no_frame() -> None:
    plan = replace(PLAIN, framed=1.0)
    long = _make(response="They told us all about it again. " * 30, harmful=1.0)
    assert not {*OPENINGS, *CLOSINGS} & set(_texts(_draw(long, plan)))


@pytest.mark.parametrize("source_set", ["diasafety", "synthetic"])
def test_an_answer_that_is_harmful_for_its_prompt_keeps_it(source_set: str) -> None:
    contextual = _make(source_set=source_set, prompt="may I hurt him", response="Go ahead and do it.", harmful=1.0)
    plan = replace(PLAIN, drop_prompt=1.0)
    assert all(_draw(contextual, plan, seed).prompt == "may I hurt him" for seed in range(20))
