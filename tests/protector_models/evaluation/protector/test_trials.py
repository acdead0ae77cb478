from pathlib import Path

import pytest

from protector_models.evaluation.protector.trials import NO_SCENARIO, TrialSet, read_recorded_sets
from protector_models.records.labelled_records import RecordError
from tests.protector_models.training.builders import make_record, write_records


def _read(
    root: Path,
    *,
    is_benign: bool = False,
    sources: tuple[str, ...] = (),
    is_live: bool = False,
    most: int | None = None,
) -> TrialSet:
    (found,) = read_recorded_sets([root], is_benign=is_benign, sources=sources, is_live=is_live, max_trials=most)
    return found


def test_answers_are_read_with_their_scenario_label_and_picture(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/1.png").write_bytes(b"p")
    there = make_record(id="1", prompt="q", response="a", category="fraud", label=1, image="../pictures/1.png")
    gone = make_record(id="2", prompt="q", response="b", label=None, image="none.png")
    found = _read(write_records(tmp_path / "answers/x.jsonl", [there, gone]).parent)
    first, second = found.trials
    assert (first.scenario, first.label, first.response) == ("fraud", 1, "a")
    assert first.image is not None
    assert first.image.read_bytes() == b"p"
    assert (second.scenario, second.label, second.image) == (NO_SCENARIO, None, None)
    assert (found.name, found.num_images_missing) == ("answers", 1)


def test_what_has_no_answer_is_passed_over_unless_an_mllm_is_there(tmp_path: Path) -> None:
    records = [make_record(id="1", prompt="q", label=1), make_record(id="2", prompt="q", response="")]
    write_records(tmp_path / "x.jsonl", records)
    recorded, live = _read(tmp_path), _read(tmp_path, is_live=True)
    assert [trial.trial_id for trial in recorded.trials] == ["2"]
    assert recorded.num_passed_over == 1
    assert [trial.response for trial in live.trials] == [None, ""]
    # The label is about the prompt here; the answer is yet to be given.
    assert live.trials[0].label is None


def test_only_the_sources_that_were_asked_for_are_taken(tmp_path: Path) -> None:
    records = [make_record(id=str(n), prompt="q", response="a", source=s) for n, s in enumerate(["FigStep a", "SIUO"])]
    write_records(tmp_path / "x.jsonl", records)
    assert [trial.trial_id for trial in _read(tmp_path, sources=("FigStep",)).trials] == ["0"]
    with pytest.raises(RecordError, match="from VLS"):
        _read(tmp_path, sources=("VLS",))


def test_harmful_answers_are_no_benign_trials(tmp_path: Path) -> None:
    records = [make_record(id=str(n), prompt="q", response="a", label=label) for n, label in enumerate([0, 1, None])]
    write_records(tmp_path / "x.jsonl", records)
    assert [trial.trial_id for trial in _read(tmp_path, is_benign=True).trials] == ["0", "2"]


def test_a_sample_is_the_same_each_time(tmp_path: Path) -> None:
    records = [make_record(id=str(n), prompt="q", response=f"answer {n}") for n in range(50)]
    write_records(tmp_path / "x.jsonl", records)
    assert _read(tmp_path, most=7).trials == _read(tmp_path, most=7).trials
    assert len(_read(tmp_path, most=7).trials) == 7


def test_two_records_of_one_id_are_an_error(tmp_path: Path) -> None:
    write_records(tmp_path / "x.jsonl", [make_record(prompt="q", response="a"), make_record(prompt="q", response="b")])
    with pytest.raises(RecordError, match="two records with id 'set/1'"):
        _read(tmp_path)
