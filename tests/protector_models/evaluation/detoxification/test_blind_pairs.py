import pytest

from protector_models.evaluation.detoxification.blind_pairs import draw_blind_pairs
from protector_models.evaluation.detoxification.pair_sets import ToxicText
from protector_models.records.labelled_records import RecordError

ITEMS = [ToxicText(source=f"source {number}", references=("x",)) for number in range(40)]
OURS = [f"ours {number}" for number in range(40)]
THEIRS = [f"theirs {number}" if number % 2 else f"ours  {number}" for number in range(40)]


def test_only_differing_texts_are_drawn_each_once_and_the_key_is_right() -> None:
    pairs = draw_blind_pairs(ITEMS, {"weir": OURS, "delete": THEIRS}, num_pairs=20, seed=1)
    assert sorted(pair.source for pair in pairs) == sorted(item.source for item in ITEMS[1::2])
    for pair in pairs:
        written = {pair.first_row: pair.first, pair.second_row: pair.second}
        assert written["weir"].startswith("ours")
        assert written["delete"].startswith("theirs")
    firsts = {pair.first_row for pair in pairs}
    assert firsts == {"weir", "delete"}


def test_the_seed_alone_decides_the_draw() -> None:
    draws = [draw_blind_pairs(ITEMS, {"weir": OURS, "delete": THEIRS}, num_pairs=10, seed=seed) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_too_few_differing_texts_are_an_error_with_both_numbers() -> None:
    with pytest.raises(RecordError, match="differ on 20 texts; expected 21"):
        draw_blind_pairs(ITEMS, {"weir": OURS, "delete": THEIRS}, num_pairs=21, seed=1)


def test_a_line_has_four_fields_whatever_the_texts_hold() -> None:
    items = [ToxicText(source="tab\there\nand line", references=("x",))]
    (pair,) = draw_blind_pairs(items, {"weir": ["a\tb"], "delete": ["c\r\nd"]}, num_pairs=1, seed=1)
    line = pair.to_line(7)
    assert line.count("\n") == 1
    assert line.rstrip("\n").split("\t")[:2] == ["7", "tab here and line"]
    assert len(line.split("\t")) == 4
