from pathlib import Path

import pytest

from protector_models.records.examples import load_examples
from protector_models.records.labelled_records import RecordError
from protector_models.records.mix import RowKind, SourcePlan
from protector_models.records.unlabelled import load_unlabelled
from tests.protector_models.training.builders import make_record, write_records

pytestmark = pytest.mark.training

SOURCES = {
    "answers/train": SourcePlan(kind=RowKind.ANSWER, group="answers"),
    "pairs/train": SourcePlan(kind=RowKind.PREFERENCE, group="preferences"),
    "texts/train": SourcePlan(kind=RowKind.TEXT, group="texts"),
    "prompts/all": SourcePlan(kind=RowKind.PROMPT, group="prompts"),
}


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    directory = tmp_path / "train"
    answers = [make_record(prompt=f"how {i}", response=f"like this {i}", label=(None, 0, 1)[i % 3]) for i in range(30)]
    pairs = [make_record(prompt=f"why {i}", response="rejected", pair="preferred", label=None) for i in range(10)]
    texts = [make_record(text="who knows", label=None), make_record(text="  ", label=None), make_record(text="nice")]
    write_records(directory / "answers/train.jsonl", answers)
    write_records(directory / "pairs/train.jsonl", pairs)
    write_records(directory / "texts/train.jsonl", texts)
    write_records(directory / "prompts/all.jsonl", [make_record(prompt="what", label=None)])
    return directory


def test_only_rows_without_a_label_and_preferences_are_read(mix: Path) -> None:
    rows = load_unlabelled(mix, validation_percent=0, sources=SOURCES)
    assert {row.harmful for row in rows} == {None}
    kinds = [row.kind for row in rows]
    assert [kinds.count(kind) for kind in (RowKind.ANSWER, RowKind.PREFERENCE, RowKind.TEXT)] == [10, 20, 1]
    assert len(rows) == 31


def test_held_out_prompts_stay_held_out(mix: Path) -> None:
    rows = load_unlabelled(mix, validation_percent=50, sources=SOURCES)
    split = load_examples(mix, validation_percent=50, seed=3, sources=SOURCES)
    assert 0 < len(rows) < 31
    assert not {row.prompt for row in rows if row.prompt} & {row.prompt for row in split.validation}


def test_the_labelled_mix_has_none_of_them(mix: Path) -> None:
    split = load_examples(mix, validation_percent=10, seed=3, sources=SOURCES)
    assert all(row.harmful is not None for row in [*split.training, *split.validation])


def test_evaluation_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    with pytest.raises(RecordError, match="never trained on"):
        load_unlabelled(tmp_path / "eval", validation_percent=8, sources=SOURCES)
