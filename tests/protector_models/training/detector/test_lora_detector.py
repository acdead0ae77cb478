"""The LoRA detector from base and answers to scores through the loader, on tiny models with random weights."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft.utils.save_and_load import load_peft_weights

from protector_models.checkpoints.trained_adapters import AdapterCard
from protector_models.descriptions.checkpoint_description import load_description
from protector_models.detectors.choice import load_detector
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import Assessment
from protector_models.records.examples import Example, ExampleSplit
from protector_models.settings import DetectorSettings
from protector_models.training.adapter_training import AdapterProgress
from protector_models.training.detector.lora_detector import EncodedUnit, LoraDetectorRecipe, sum_losses
from protector_models.training.detector.lora_detector_packaging import train_lora_detector
from protector_models.training.resumable import TrainingProgress
from tests.builders import exchange
from tests.protector_models.training.builders import make_example
from tests.protector_models.transformer_models.tiny_language_models import write_causal_model

pytestmark = pytest.mark.training

TOKEN = {"input_ids": [1], "attention_mask": [1]}
PAIR = EncodedUnit(harmful=TOKEN, safe=TOKEN, weight=1.0)
HARMFUL, SAFE = replace(PAIR, safe=None), replace(PAIR, harmful=None)
# Of "who is he 2" the random base sees nothing but the number: its attention is that sharp.
HARMFUL_ROWS = [make_example(prompt=f"who is he {number}", response="he is a dead man") for number in (0, 1, 3)]
SAFE_ROWS = [replace(row, response="he is a good man", harmful=0.0, is_benign_set=True) for row in HARMFUL_ROWS]
ROWS = [*HARMFUL_ROWS, *SAFE_ROWS, make_example(prompt="what now", response="kill them all")]
OVERFIT = LoraDetectorRecipe(
    num_epochs=50, batch_size=4, micro_batch_size=4, lr=1e-3, rank=8, alpha=16, dropout=0.0, lora_targets="all-linear"
)
SHORT = LoraDetectorRecipe(batch_size=3, micro_batch_size=2, lr=1e-2, rank=4, checkpoint_every=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_causal_model(tmp_path_factory.mktemp("base"))


def train(
    base: Path,
    out: Path,
    recipe: LoraDetectorRecipe,
    *,
    rows: Sequence[Example] = ROWS,
    num_steps: int | None = None,
    stop_after: int | None = None,
) -> AdapterCard:
    def step(state: TrainingProgress) -> None:
        if state.step == stop_after:
            raise KeyboardInterrupt

    card = train_lora_detector(
        base,
        ExampleSplit(training=list(rows), validation=list(rows)),
        directory=out,
        recipe=recipe,
        device="cpu",
        dtype="float32",
        num_steps=num_steps,
        num_threads=1,
        progress=AdapterProgress(start=lambda steps, measured: None, step=step, measured=lambda num: None),
    )
    assert card is not None
    return card


def settings_for(base: Path, out: Path) -> DetectorSettings:
    return DetectorSettings(
        kind="transformers", model=str(base), adapter=str(out), description=str(out / "description.yaml")
    )


@pytest.mark.parametrize(
    ("units", "logits", "expected"),
    [
        ([PAIR], [0.0, 0.0], 3 * math.log(2)),
        ([HARMFUL], [0.0], math.log(2)),
        ([PAIR], [30.0, -30.0], 0.0),
        ([PAIR], [-30.0, 30.0], 30.0 + 30.0 + 60.0),
        ([HARMFUL, SAFE], [30.0, -30.0], 0.0),
        ([SAFE, HARMFUL], [30.0, -30.0], 60.0),
        ([replace(PAIR, weight=0.5), SAFE], [0.0, 0.0, 0.0], 2.5 * math.log(2)),
    ],
)
def test_the_loss_is_that_of_either_answer_and_of_a_pairs_order(
    units: list[EncodedUnit], logits: list[float], expected: float
) -> None:
    loss = sum_losses(torch.tensor(logits), units, rank_loss_weight=1.0)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


async def test_what_was_learned_is_what_the_loaded_detector_says(base: Path, tmp_path: Path) -> None:
    card = train(base, tmp_path, OVERFIT)
    detector = load_detector(settings_for(base, tmp_path), num_threads=1, timeout_s=60)
    outcomes = await detector.assess([exchange(row.response, prompt=row.prompt) for row in ROWS])
    await detector.close()

    flagged = [outcome.harmfulness >= detector.threshold for outcome in outcomes if isinstance(outcome, Assessment)]
    assert flagged == [row.harmful == 1.0 for row in ROWS]
    assert detector.threshold == card.validation["threshold"]
    assert (card.validation["f1"], card.validation["auroc"]) == (1.0, 1.0)
    assert (card.validation["num_training"], card.validation["num_training_pairs"]) == (4, 3)


def test_the_description_says_what_the_logit_is_of(base: Path, tmp_path: Path) -> None:
    card = train(base, tmp_path, SHORT, num_steps=1)
    description = load_description(str(tmp_path / "description.yaml"))

    assert description.head.model_dump(include={"polarity", "template", "activation"}) == {
        "polarity": "harmful",
        "template": "Question: {prompt}\n\nAnswer: {response}",
        "activation": "sigmoid",
    }
    assert description.window.max_tokens == SHORT.max_tokens == 512
    assert card.base == description.base == base.name


def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path / "whole", SHORT, num_steps=6)
    with pytest.raises(KeyboardInterrupt):
        train(base, tmp_path / "broken", SHORT, num_steps=6, stop_after=5)
    train(base, tmp_path / "broken", SHORT, num_steps=6)
    whole, broken = (load_peft_weights(str(tmp_path / name), device="cpu") for name in ("whole", "broken"))

    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    # The layer of the logit is trained and kept beside the adapter.
    assert any(name.endswith("score.weight") for name in whole)


def test_micro_batches_add_up_to_the_batch(base: Path, tmp_path: Path) -> None:
    plain = replace(SHORT, dropout=0.0)
    train(base, tmp_path / "one", replace(plain, micro_batch_size=3), num_steps=2)
    train(base, tmp_path / "many", replace(plain, micro_batch_size=1), num_steps=2)
    one, many = (load_peft_weights(str(tmp_path / name), device="cpu") for name in ("one", "many"))

    # Sums of floats in another order; Adam's first steps make as much of a small gradient as of a large one.
    assert all(torch.allclose(one[name], many[name], atol=1e-4) for name in one)


def test_a_checkpoint_of_other_choices_or_data_is_refused(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path, SHORT, num_steps=2)
    with pytest.raises(ValueError, match="differs in rank"):
        train(base, tmp_path, replace(SHORT, rank=8), num_steps=2)
    with pytest.raises(ValueError, match="differs in num_examples"):
        train(base, tmp_path, SHORT, rows=ROWS[:-1], num_steps=2)


def test_an_adapter_for_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path / "adapter", SHORT, num_steps=1)
    other = write_causal_model(tmp_path / "other", seed=1)
    with pytest.raises(ConfigurationError, match="trained on the base"):
        load_detector(settings_for(other, tmp_path / "adapter"), num_threads=1, timeout_s=60)


def test_examples_that_are_too_long_are_counted_and_none_left_is_an_error(base: Path, tmp_path: Path) -> None:
    long = make_example(prompt="long", response="harm " * 600)
    card = train(base, tmp_path / "some", SHORT, rows=[*ROWS, long], num_steps=1)
    assert (card.validation["num_training"], card.validation["num_training_too_long"]) == (4, 1)
    with pytest.raises(ValueError, match="no example has at most 512 tokens"):
        train(base, tmp_path / "none", SHORT, rows=[long, replace(long, prompt="other", harmful=0.0)], num_steps=1)


def test_a_slice_of_one_label_is_refused_before_the_training(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected answers of both labels, got 3 harmful of 3"):
        train(base, tmp_path, SHORT, rows=HARMFUL_ROWS)
    assert not (tmp_path / "checkpoint").exists()
