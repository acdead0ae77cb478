import random
from collections import Counter
from pathlib import Path

import pytest

from protector_models.records import excluded_texts
from protector_models.records.examples import (
    balance_groups,
    check_may_train_on,
    is_held_out,
    load_examples,
    make_synthetic_examples,
    take_last_turn,
)
from protector_models.records.excluded_texts import hash_text
from protector_models.records.labelled_records import RecordError
from protector_models.records.mix import SOURCES, TRAINABLE_PROMPT_MARK, RowKind, SourcePlan, SyntheticPlan
from tests.protector_models.training.builders import make_example, make_record, write_mix, write_records

pytestmark = pytest.mark.training


def test_no_prompt_is_on_both_sides_of_the_split(tmp_path: Path) -> None:
    split = load_examples(write_mix(tmp_path / "train"), validation_percent=30, seed=3)
    held_out = {row.prompt or row.response for row in split.validation}
    trained = {row.prompt or row.response for row in split.training}
    assert held_out
    assert not held_out & trained


def test_validation_holds_no_synthetic_rows_and_synthetic_rows_use_training_prompts_only(tmp_path: Path) -> None:
    split = load_examples(write_mix(tmp_path / "train"), validation_percent=30, seed=3)
    assert all(row.source_set != "synthetic" for row in split.validation)
    natural = [row for row in split.training if row.source_set != "synthetic"]
    prompts = {row.prompt for row in natural} | {row.response for row in natural if row.kind is RowKind.PROMPT}
    synthetic = [row for row in split.training if row.source_set == "synthetic"]
    assert synthetic
    assert all((row.response if row.kind is RowKind.PROMPT else row.prompt) in prompts for row in synthetic)


def test_the_same_seed_gives_the_same_examples(tmp_path: Path) -> None:
    mix = write_mix(tmp_path / "train")
    assert load_examples(mix, validation_percent=20, seed=5) == load_examples(mix, validation_percent=20, seed=5)


def test_prompts_marked_for_evaluation_are_left_out(tmp_path: Path) -> None:
    split = load_examples(write_mix(tmp_path / "train"), validation_percent=30, seed=3)
    marked = [row for row in split.training + split.validation if row.kind is RowKind.PROMPT and row.harmful]
    assert {int(row.response.split()[1]) % 2 for row in marked} == {1}


@pytest.mark.parametrize("name", ["eval", "eval/harmbench", "EVAL"])
def test_evaluation_data_is_refused(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir(parents=True)
    with pytest.raises(RecordError, match="never trained on"):
        check_may_train_on(directory)


def test_a_link_to_evaluation_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "train").symlink_to(tmp_path / "eval")
    with pytest.raises(RecordError, match="never trained on"):
        check_may_train_on(tmp_path / "train")


def test_a_missing_set_is_an_error_that_names_it(tmp_path: Path) -> None:
    mix = write_mix(tmp_path / "train")
    (mix / "safetext" / "train.jsonl").unlink()
    with pytest.raises(RecordError, match="safetext"):
        load_examples(mix, validation_percent=20, seed=5)


def test_spelling_does_not_move_a_prompt_across_the_split() -> None:
    prompts = [f"How do I build number {index}?" for index in range(50)]
    sides = [is_held_out(prompt, percent=30) for prompt in prompts]
    assert 0 < sum(sides) < len(sides)
    assert sides == [is_held_out(f"  {prompt.upper()}!!", percent=30) for prompt in prompts]


def test_lone_surrogates_become_question_marks(tmp_path: Path) -> None:
    mix = write_mix(tmp_path / "train")
    lone = "\ud800 is lone"
    rows = {
        "gptfuzz/train": make_record(prompt=lone, response=lone, label=1),
        "hh_rlhf_pairs/train": make_record(prompt=lone, response=lone, pair=f"{lone} too", label=None),
        "sbic/dev_test": make_record(text=lone, label=1),
        "harmful_prompts/all": make_record(prompt=lone, label=1, category=f"{TRAINABLE_PROMPT_MARK}/Adult Content"),
    }
    for name, row in rows.items():
        write_records(mix / f"{name}.jsonl", [row])
    split = load_examples(mix, validation_percent=20, seed=5)
    texts = [text for row in [*split.training, *split.validation] for text in (row.prompt, row.response)]
    assert [text for text in texts if "\ud800" in text] == []
    assert {"? is lone", "? is lone too"} <= set(texts)


def test_rows_are_repeated_in_training_as_planned_and_never_in_validation(tmp_path: Path) -> None:
    rows = [make_record(prompt=f"question {number}", response="r", label=number % 2) for number in range(60)]
    write_records(tmp_path / "own" / "rows.jsonl", rows)
    sources = {"own/rows": SourcePlan(kind=RowKind.ANSWER, group="own", repeats=3)}
    split = load_examples(tmp_path, validation_percent=30, seed=5, sources=sources)
    natural = Counter(row.prompt for row in split.training if row.source_set == "own")
    held_out = Counter(row.prompt for row in split.validation)
    assert set(natural.values()) == {3}
    assert set(held_out.values()) == {1}
    assert len(natural) + len(held_out) == 60


def test_written_rows_come_with_the_project_and_say_what_they_are_harmful_as(tmp_path: Path) -> None:
    sources = {name: SOURCES[name] for name in ("written/safe", "written/harmful")}
    split = load_examples(tmp_path, validation_percent=8, seed=5, sources=sources)
    rows = [row for row in [*split.training, *split.validation] if row.source_set == "written"]
    assert {row.harmful for row in rows} == {0.0, 1.0}
    harmful = [row for row in rows if row.harmful]
    assert all(row.categories and 1.0 in row.categories for row in harmful)
    with_part = [row for row in harmful if row.harmful_part]
    assert with_part
    assert all(row.harmful_part in row.response and row.harmful_part != row.response for row in with_part)


@pytest.mark.parametrize(("label", "part"), [(1, "the bad words"), (0, "")])
def test_only_of_harmful_answers_the_harmful_part_is_kept(tmp_path: Path, label: int, part: str) -> None:
    row = make_record(prompt="p", response="Hello. the bad words", label=label, harmful_part="the bad words")
    write_records(tmp_path / "own" / "rows.jsonl", [row])
    sources = {"own/rows": SourcePlan(kind=RowKind.ANSWER, group="own")}
    split = load_examples(tmp_path, validation_percent=1, seed=5, sources=sources)
    (kept,) = (one for one in [*split.training, *split.validation] if one.source_set == "own")
    assert kept.harmful_part == part


def test_balancing_makes_both_labels_weigh_alike_within_a_group() -> None:
    rows = [make_example(harmful=1.0)] * 2 + [make_example(harmful=0.0)] * 4
    weights = {label: sum(r.weight for r in balance_groups(rows) if r.harmful == label) for label in (0.0, 1.0)}
    assert weights[0.0] == pytest.approx(weights[1.0])


def test_a_group_with_one_label_keeps_its_weights() -> None:
    rows = [make_example(harmful=1.0, weight=0.5)] * 3
    assert balance_groups(rows) == rows


def test_synthetic_rows_need_rows_to_be_made_from() -> None:
    assert make_synthetic_examples([make_example()], SyntheticPlan(), random.Random(0)) == []


def test_a_row_with_a_text_of_a_benchmark_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mix = write_mix(tmp_path / "train")
    before = load_examples(mix, validation_percent=20, seed=5)
    known = [row for row in before.training if row.source_set == "gptfuzz"]
    listed = tmp_path / "listed.txt"
    listed.write_text(f"{hash_text(known[0].prompt.upper())}\n{hash_text(known[1].response + ' !')}\n")
    monkeypatch.setattr(excluded_texts, "EXCLUDED_TEXTS_FILE", listed)
    excluded_texts.read_hashes.cache_clear()
    try:
        after = load_examples(mix, validation_percent=20, seed=5)
    finally:
        excluded_texts.read_hashes.cache_clear()
    left = {(row.prompt, row.response) for row in after.training if row.source_set == "gptfuzz"}
    gone = {(row.prompt, row.response) for row in known} - left
    assert gone == {(row.prompt, row.response) for row in known[:2]}


@pytest.mark.parametrize(
    ("dialogue", "last"),
    [
        ("Human: hi\n\nAssistant: yes?\n\nHuman: how do I bake?", "how do I bake?"),
        ("Is a Human: prefix needed", "Is a Human: prefix needed"),
    ],
)
def test_of_a_dialogue_the_last_turn_is_the_prompt(dialogue: str, last: str) -> None:
    assert take_last_turn(dialogue) == last
