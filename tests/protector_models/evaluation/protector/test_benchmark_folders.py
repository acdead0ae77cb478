from pathlib import Path

import pytest

from protector_models.evaluation.protector.benchmark_folders import FIGSTEP_PROMPT, read_figstep, read_mm_safetybench
from protector_models.records.labelled_records import RecordError
from tests.protector_models.evaluation.protector.folders import SCENARIOS, write_figstep, write_mm_safetybench


def test_each_variant_of_mm_safetybench_has_its_own_pictures_and_question(tmp_path: Path) -> None:
    write_mm_safetybench(tmp_path)
    sets = read_mm_safetybench(tmp_path, variants=["SD", "TYPO", "SD+TYPO"], max_trials=None)
    assert [found.name for found in sets] == ["MM-SafetyBench SD", "MM-SafetyBench TYPO", "MM-SafetyBench SD+TYPO"]
    asked = {found.name.split()[-1]: found.trials[1] for found in sets}
    for variant, folder, ending in (
        ("SD", "SD", "as drawn?"),
        ("TYPO", "TYPO", "as typed?"),
        ("SD+TYPO", "SD_TYPO", "as typed?"),
    ):
        trial = asked[variant]
        assert trial.image is not None
        assert trial.image.read_bytes() == f"{SCENARIOS[0]} {folder} 1".encode()
        assert trial.prompt == f"{SCENARIOS[0]} 1, {ending}"
        assert (trial.scenario, trial.trial_id, trial.response) == (SCENARIOS[0], f"{SCENARIOS[0]}/1", None)
    assert [len(found.trials) for found in sets] == [4, 4, 4]


def test_a_data_directory_is_found_below_the_one_that_is_named(tmp_path: Path) -> None:
    write_mm_safetybench(tmp_path / "data")
    (found,) = read_mm_safetybench(tmp_path, variants=["SD"], max_trials=3)
    assert len(found.trials) == 3


@pytest.mark.parametrize("variants", [["SD", "OCR"], []])
def test_an_unknown_variant_is_an_error(tmp_path: Path, variants: list[str]) -> None:
    with pytest.raises(RecordError, match="expected some of SD, TYPO"):
        read_mm_safetybench(write_mm_safetybench(tmp_path), variants=variants, max_trials=None)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    write_mm_safetybench(tmp_path)
    (tmp_path / "imgs" / SCENARIOS[1] / "SD" / "0.jpg").unlink()
    with pytest.raises(RecordError, match=r"02-HateSpeech/SD/0\.jpg: expected the question's picture"):
        read_mm_safetybench(tmp_path, variants=["SD"], max_trials=None)


@pytest.mark.parametrize("content", ["[]", '{"0": "text"}', "{", '{"0": {"Question": "q"}}', '{"../0": {}}'])
def test_questions_in_another_form_are_an_error_with_the_file(tmp_path: Path, content: str) -> None:
    write_mm_safetybench(tmp_path)
    (tmp_path / "processed_questions" / f"{SCENARIOS[0]}.json").write_text(content)
    with pytest.raises(RecordError, match=SCENARIOS[0]):
        read_mm_safetybench(tmp_path, variants=["SD"], max_trials=None)


def test_a_number_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    write_mm_safetybench(tmp_path)
    file = tmp_path / "processed_questions" / f"{SCENARIOS[0]}.json"
    file.write_text('{"../TYPO/0": {"Rephrased Question(SD)": "q"}}')
    with pytest.raises(RecordError, match="expected a number"):
        read_mm_safetybench(tmp_path, variants=["SD"], max_trials=None)


def test_figstep_has_one_prompt_for_all_pictures_and_a_scenario_for_each_topic(tmp_path: Path) -> None:
    found = read_figstep(write_figstep(tmp_path), prompt=FIGSTEP_PROMPT, max_trials=None)
    assert [trial.scenario for trial in found.trials] == ["Illegal Activity", "Illegal Activity", "Hate Speech"]
    assert {trial.prompt for trial in found.trials} == {FIGSTEP_PROMPT}
    assert all(trial.image is not None and trial.image.name.startswith("query_ForbidQI_") for trial in found.trials)


@pytest.mark.parametrize("fault", ["no table", "no columns", "no rows", "no picture"])
def test_a_figstep_folder_that_cannot_be_used_is_an_error(tmp_path: Path, fault: str) -> None:
    root = write_figstep(tmp_path)
    table = root / "question/safebench.csv"
    match fault:
        case "no table":
            table.unlink()
        case "no columns":
            table.write_text("a,b\n1,2\n")
        case "no rows":
            table.write_text("dataset,category_id,task_id,category_name\n")
        case _:
            next((root / "images/SafeBench").iterdir()).unlink()
    with pytest.raises(RecordError):
        read_figstep(root, prompt="p", max_trials=None)
