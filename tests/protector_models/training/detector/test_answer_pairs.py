"""Tests of `answer_pairs`."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.records.examples import Example
from protector_models.records.labelled_records import RecordError
from protector_models.records.mix import RowKind
from protector_models.training.detector import answer_pairs
from protector_models.training.detector.answer_pairs import AnswerUnit, load_answers, pair_answers
from tests.protector_models.training.builders import make_example, make_record, write_mix, write_records

pytestmark = pytest.mark.training

ROWS = st.lists(
    st.builds(
        lambda prompt, number, harmful: make_example(prompt=prompt, response=f"answer {number}", harmful=harmful),
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 1_000),
        st.sampled_from([0.0, 1.0]),
    ),
    max_size=12,
)


@given(ROWS)
def test_every_answer_is_in_one_unit_and_pairs_are_of_one_prompt(rows: list[Example]) -> None:
    units = pair_answers(rows, seed=0)

    found = Counter(
        (unit.prompt, answer, harmful)
        for unit in units
        for answer, harmful in ((unit.harmful, 1.0), (unit.safe, 0.0))
        if answer is not None
    )
    assert found == Counter((row.prompt, row.response, row.harmful) for row in rows)


@given(ROWS)
def test_no_pair_is_left_unmade(rows: list[Example]) -> None:
    alone = [unit for unit in pair_answers(rows, seed=0) if unit.harmful is None or unit.safe is None]

    kinds = {(unit.prompt, unit.harmful is None) for unit in alone}
    assert not any((prompt, True) in kinds and (prompt, False) in kinds for prompt in "abc")


def test_answers_without_a_prompt_make_no_pair_with_each_other() -> None:
    rows = [make_example(prompt="", response=f"answer {harmful}", harmful=harmful) for harmful in (1.0, 0.0)]
    units = pair_answers(rows, seed=0)
    assert [(unit.harmful, unit.safe) for unit in units] == [("answer 1.0", None), (None, "answer 0.0")]


def test_a_records_own_safe_answer_comes_first_and_stands_for_its_double() -> None:
    harmful = make_example(response="bad", harmful=1.0, safe_answer="a refusal ")
    rows = [harmful, make_example(response="a refusal", harmful=0.0), make_example(response="other", harmful=0.0)]

    units = pair_answers(rows, seed=0)
    assert [(unit.harmful, unit.safe) for unit in units] == [("bad", "a refusal"), (None, "other")]


def test_a_safe_answer_of_a_public_benchmark_makes_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_pairs, "is_excluded_text", lambda text: text == "known")
    (unit,) = pair_answers([make_example(safe_answer="known")], seed=0)
    assert unit == AnswerUnit(prompt="how do I do it", harmful="like this", safe=None, weight=1.0)


def test_a_pair_weighs_what_its_answers_weigh() -> None:
    rows = [make_example(harmful=1.0, weight=0.2), make_example(harmful=0.0, weight=0.4)]
    (unit,) = pair_answers(rows, seed=0)
    assert unit.weight == pytest.approx(0.3)
    (alone,) = pair_answers([replace(rows[0], safe_answer="no")], seed=0)
    assert alone.weight == 0.2


def test_of_the_mix_the_answers_are_read_and_nothing_synthetic(tmp_path: Path) -> None:
    split = load_answers(write_mix(tmp_path), validation_percent=20, seed=0)

    assert {row.kind for row in split.training} == {RowKind.ANSWER, RowKind.PREFERENCE}
    for rows in (split.training, split.validation):
        assert RowKind.TEXT not in {row.kind for row in rows}
        assert {row.harmful for row in rows} == {0.0, 1.0}
        assert "synthetic" not in {row.source_set for row in rows}
    prompts = [{row.prompt for row in rows if row.prompt} for rows in (split.training, split.validation)]
    assert prompts[0].isdisjoint(prompts[1])


def test_other_records_are_read_whole(tmp_path: Path) -> None:
    rows = [
        make_record(prompt=f"question {number}", response="bad words", pair="good words", label=1)
        for number in range(30)
    ]
    write_records(tmp_path / "own.jsonl", rows)
    write_records(tmp_path / "more" / "own.jsonl", [make_record(prompt="p", response="fine", label=0)])
    split = load_answers(tmp_path, validation_percent=20, seed=0)

    assert len(split.training) + len(split.validation) == 31
    assert {row.safe_answer for row in [*split.training, *split.validation]} == {"good words", ""}


def test_evaluation_data_and_empty_directories_are_refused(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    with pytest.raises(RecordError, match="never trained on"):
        load_answers(tmp_path / "eval", validation_percent=8, seed=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match="holds no file"):
        load_answers(tmp_path / "empty", validation_percent=8, seed=0)
