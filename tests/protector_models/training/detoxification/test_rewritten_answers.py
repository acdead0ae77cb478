from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.records.labelled_records import RecordError
from protector_models.training.detoxification.rewritten_answers import (
    IDENTITY_SETS,
    PAIR_SETS,
    RewrittenAnswer,
    load_rewritten_answers,
)
from tests.protector_models.training.builders import make_record, write_records

pytestmark = pytest.mark.training


def write_sets(directory: Path, pairs: list[dict[str, object]] | None = None, *, num_safe: int = 40) -> Path:
    """Writes every set: the pairs in the first, invented ones in the others."""
    for name in PAIR_SETS:
        label = None if name == "hh_rlhf_pairs/train" else 1
        rows = [
            make_record(prompt=f"{name} {number}", response=f"harm {number}", pair=f"kind {number}", label=label)
            for number in range(10)
        ]
        write_records(directory / f"{name}.jsonl", pairs if name == "gptfuzz/train" and pairs else rows)
    for name in IDENTITY_SETS:
        safe = [make_record(prompt=f"{name} {number}", response=f"safe {number}") for number in range(num_safe)]
        write_records(directory / f"{name}.jsonl", safe)
    return directory


def load(directory: Path, *, identity_share: float = 0.2) -> list[RewrittenAnswer]:
    found = load_rewritten_answers(directory, identity_share=identity_share, validation_percent=5, seed=1)
    return found.training + found.held_out


def test_pairs_count_by_their_set_and_safe_answers_stand_beside_them(tmp_path: Path) -> None:
    examples = load(write_sets(tmp_path))
    assert sum(example.is_identity for example in examples) == 15
    assert len(examples) == 75
    weights = {example.weight for example in examples if example.prompt.startswith("hh_rlhf_pairs")}
    assert weights == {0.3}


def test_no_prompt_is_on_both_sides(tmp_path: Path) -> None:
    rows = [
        make_record(prompt=f"question {number % 60}", response=f"harm {number}", pair="kind", label=1)
        for number in range(300)
    ]
    found = load_rewritten_answers(write_sets(tmp_path, rows), identity_share=0.2, validation_percent=10, seed=1)
    training, held_out = ({example.prompt for example in part} for part in (found.training, found.held_out))
    assert training
    assert held_out
    assert not training & held_out


@pytest.mark.parametrize(
    "fields",
    [
        {"pair": "I can not help. " * 30},
        {"pair": "I can not help.assistant\n\nI can not help."},
        {"pair": "harm"},
        {"pair": None},
        {"label": 0},
        {"label": None},
        {"response": " "},
    ],
)
def test_what_teaches_nothing_good_is_left_out(tmp_path: Path, fields: dict[str, object]) -> None:
    rows = [make_record(**{"prompt": "ask", "response": "harm", "pair": "kind", "label": 1, **fields})]
    assert "ask" not in {example.prompt for example in load(write_sets(tmp_path, rows))}


@pytest.mark.parametrize("name", ["[AIM]: ", "NECO: ", "ChatGPT: ", "[ChatGPT:] "])
def test_the_character_that_a_jailbreak_plays_is_no_part_of_a_target(tmp_path: Path, name: str) -> None:
    rows = [make_record(prompt="ask", response="harm", pair=f"{name}I am sorry: no.", label=1)]
    assert "I am sorry: no." in {example.target for example in load(write_sets(tmp_path, rows))}


def test_lone_surrogates_become_question_marks(tmp_path: Path) -> None:
    rows = [make_record(prompt="ask \ud800", response="harm \ud800", pair="kind \ud800", label=1)]
    expected = RewrittenAnswer(prompt="ask ?", response="harm ?", target="kind ?", weight=1.0)
    assert expected in load(write_sets(tmp_path, rows))


def test_evaluation_data_a_missing_set_and_a_share_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="never trained on"):
        load(write_sets(tmp_path / "eval"))
    with pytest.raises(RecordError, match="gptfuzz"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"expected a number in \[0, 0\.9\], got 0\.95"):
        load(write_sets(tmp_path), identity_share=0.95)


def test_sets_can_be_chosen_and_those_that_are_none_are_named(tmp_path: Path) -> None:
    directory = write_sets(tmp_path)

    def choose(pair_sets: str) -> set[str]:
        found = load_rewritten_answers(directory, pair_sets=pair_sets, identity_share=0.0, validation_percent=5, seed=1)
        return {example.prompt.rpartition(" ")[0] for example in found.training}

    assert choose("all") == set(PAIR_SETS)
    assert choose("safetext/train,gptfuzz/train") == {"safetext/train", "gptfuzz/train"}
    with pytest.raises(ValueError, match=r"pair_sets: expected 'all', or some of gptfuzz/train, .*; got 'safetext'"):
        choose("gptfuzz/train,safetext")


@given(share=st.floats(0.0, 1.0), num_refusals=st.integers(0, 30), seed=st.integers(0, 3))
def test_refusals_are_at_most_their_share_and_nothing_else_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, share: float, num_refusals: int, seed: int
) -> None:
    rows = [
        make_record(
            prompt=f"ask {number}",
            response="harm",
            pair=f"I'm sorry, no. {number}" if number < num_refusals else f"Try the stairs {number}.",
            label=1,
        )
        for number in range(30)
    ]
    directory = write_sets(tmp_path_factory.mktemp("sets"), rows)

    def pick(refusal_share: float) -> list[RewrittenAnswer]:
        found = load_rewritten_answers(
            directory,
            pair_sets="gptfuzz/train",
            refusal_share=refusal_share,
            identity_share=0.0,
            validation_percent=0,
            seed=seed,
        )
        return found.training

    if num_refusals == 30 and share < 1.0:
        with pytest.raises(ValueError, match="no pair"):
            pick(share)
        return
    kept = pick(share)
    refusals = [example for example in kept if example.target.startswith("I'm sorry")]
    assert len(refusals) <= max(0.0, share * len(kept))
    assert len(kept) - len(refusals) == 30 - num_refusals
    # As many as may be: one more would be too many, but for rounding, where there is one more.
    assert len(refusals) == num_refusals or len(refusals) + 1 > share * (len(kept) + 1) - 1e-6
    assert kept == [example for example in pick(1.0) if example in kept]


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_refusals_that_is_none_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(ValueError, match=r"refusal_share: expected a number in \[0, 1\]"):
        load_rewritten_answers(
            write_sets(tmp_path), refusal_share=share, identity_share=0.2, validation_percent=5, seed=1
        )
