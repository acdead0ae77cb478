import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands.train import app
from protector_models.training.detoxification.rewritten_answers import IDENTITY_SETS, PAIR_SETS
from tests.protector_models.training.builders import make_record, write_records
from tests.protector_models.transformer_models.tiny_language_models import write_causal_model

pytestmark = pytest.mark.training


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Every set that the recipe asks for, with invented rows."""
    for name in (*PAIR_SETS, *IDENTITY_SETS):
        label = None if name == "hh_rlhf_pairs/train" else int(name in PAIR_SETS)
        rows = [
            make_record(prompt=f"ask {number}", response=f"answer {number}", pair=f"kind {number}", label=label)
            for number in range(4)
        ]
        write_records(tmp_path / "data" / f"{name}.jsonl", rows)
    return tmp_path / "data"


def test_an_adapter_is_written_with_its_card_and_the_losses_are_shown(
    runner: CliRunner, data: Path, tmp_path: Path
) -> None:
    base, out = write_causal_model(tmp_path / "base"), tmp_path / "out"
    options = ["--recipe", "generate", "--base", str(base), "--data", str(data), "--out", str(out)]
    result = runner.invoke(app, ["detoxifier", *options, "--steps", "2", "--lora-targets", "all-linear"])
    assert result.exit_code == 0, result.stderr
    assert "held_out_loss_after" in result.stdout
    card = json.loads((out / "card.json").read_text())
    assert (card["recipe"]["num_steps"], card["recipe"]["lora_targets"]) == (2, "all-linear")
    assert (out / "adapter_model.safetensors").is_file()


def test_the_choices_of_a_short_run_stand_in_its_card(runner: CliRunner, data: Path, tmp_path: Path) -> None:
    base, out = write_causal_model(tmp_path / "base"), tmp_path / "out"
    options = ["--recipe", "generate", "--base", str(base), "--data", str(data), "--out", str(out), "--steps", "2"]
    options += ["--lr", "2e-4", "--batch-size", "2", "--micro-batch-size", "1", "--max-held-out", "1"]
    options += ["--pair-sets", "safetext/train", "--refusal-share", "0.5", "--max-target-tokens", "40"]
    result = runner.invoke(app, ["detoxifier", *options])
    assert result.exit_code == 0, result.stderr
    recipe = json.loads((out / "card.json").read_text())["recipe"]
    assert (recipe["lr"], recipe["batch_size"], recipe["micro_batch_size"]) == (2e-4, 2, 1)
    assert (recipe["pair_sets"], recipe["refusal_share"]) == ("safetext/train", 0.5)
    assert (recipe["max_target_tokens"], recipe["max_held_out"]) == (40, 1)


def test_a_set_that_is_none_ends_with_status_2(runner: CliRunner, data: Path, tmp_path: Path) -> None:
    options = ["--recipe", "generate", "--base", str(tmp_path), "--data", str(data), "--out", str(tmp_path / "out")]
    result = runner.invoke(app, ["detoxifier", *options, "--pair-sets", "nobody"])
    assert result.exit_code == 2
    assert "got 'nobody'" in " ".join(result.stderr.split())


def test_evaluation_data_is_refused_with_status_2(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    options = ["--recipe", "generate", "--base", str(tmp_path), "--data", str(tmp_path / "eval"), "--out", "out"]
    result = runner.invoke(app, ["detoxifier", *options])
    assert result.exit_code == 2
    assert "gptfuzz" in result.stderr or "never trained on" in " ".join(result.stderr.split())


@pytest.mark.parametrize(("base", "message"), [([], "expected --base"), (["--base", "nowhere"], "nowhere")])
def test_a_base_that_is_missing_is_named_with_status_2(
    runner: CliRunner, data: Path, tmp_path: Path, base: list[str], message: str
) -> None:
    options = ["--recipe", "generate", "--data", str(data), "--out", str(tmp_path / "out"), *base]
    result = runner.invoke(app, ["detoxifier", *options])
    assert result.exit_code == 2
    assert message in result.stderr


def test_options_are_required(runner: CliRunner) -> None:
    assert runner.invoke(app, ["detoxifier"]).exit_code == 2
