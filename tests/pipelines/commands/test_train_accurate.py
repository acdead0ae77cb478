"""`weir train detector --recipe accurate` and `weir train pair`: from rows to two detectors that are served as one."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.__main__ import app
from protector_models.detectors.shipped.weights_in_use import PAIR_NAME, SHIPPED_WEIGHTS, find_weights_in_use
from protector_models.training.detector import held_out
from tests.protector_models.training.builders import write_mix

pytestmark = pytest.mark.training


def _write_tiny_encoder(directory: Path) -> Path:
    from transformers import MPNetConfig, MPNetModel  # noqa: PLC0415  # seconds, not even for tests that are left out

    config = MPNetConfig(
        vocab_size=30_527,
        hidden_size=48,
        num_hidden_layers=5,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=514,
    )
    MPNetModel(config).save_pretrained(directory)
    return directory


def test_two_commands_make_a_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "_NUM_COMPOSED", 20)
    monkeypatch.setattr(held_out, "_MAX_ALONE", 40)
    mix = write_mix(tmp_path / "mix", rows_per_set=12)
    weights = tmp_path / "weights"
    shutil.copytree(SHIPPED_WEIGHTS, weights, ignore=shutil.ignore_patterns("accurate"))
    encoder = _write_tiny_encoder(tmp_path / "encoder")
    options = ["--data", str(mix), "--threads", "1"]
    trained = CliRunner().invoke(
        app,
        [
            *("train", "detector", "--recipe", "accurate", "--encoder", str(encoder), "--steps", "2"),
            *("--out", str(weights / "accurate"), *options),
        ],
    )
    assert trained.exit_code == 0, trained.output
    paired = CliRunner().invoke(app, ["train", "pair", "--weights", str(weights), *options])
    assert paired.exit_code == 0, paired.output
    found = find_weights_in_use(weights, "both")
    assert found.card.name == PAIR_NAME
    assert found.pair is not None
    assert found.pair.accurate.recipe["num_steps"] == 2
    assert "share_read_by_both" in paired.output
