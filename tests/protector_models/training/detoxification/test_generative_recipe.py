"""The generative detoxifier from base and pairs to rewrites through the port, on tiny models with random weights."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft.utils.save_and_load import load_peft_weights

from protector_models.detoxification.generative_detoxifier import load_generator
from protector_models.detoxification.settings import GeneratorSettings
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import ItemFailure, Rewrite
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import RewriteMethod
from protector_models.training.adapter_training import AdapterProgress
from protector_models.training.detoxification.generative_batches import NO_LABEL, collate, encode_answers
from protector_models.training.detoxification.generative_packaging import train_answer_rewriter
from protector_models.training.detoxification.generative_recipe import (
    GenerativeRecipe,
    ModelForm,
    measure_loss,
    weighted_loss,
)
from protector_models.training.detoxification.rewritten_answers import RewrittenAnswer, RewrittenAnswers
from protector_models.training.resumable import TrainingProgress
from protector_models.transformer_models.base_models import load_base_model
from tests.builders import exchange
from tests.protector_models.transformer_models.tiny_language_models import write_causal_model, write_sequence_model

pytestmark = pytest.mark.training

PAIRS = [
    RewrittenAnswer(prompt="who is he", response="he is a dead man", target="he is a good man", weight=1.0),
    RewrittenAnswer(prompt="what now", response="kill them all", target="go home and rest", weight=1.0),
    RewrittenAnswer(prompt="where", response="in the city", target="in the city", weight=1.0),
]
OVERFIT = GenerativeRecipe(
    num_epochs=110, batch_size=3, micro_batch_size=3, lr=5e-3, rank=32, alpha=64, dropout=0.0, lora_targets="all-linear"
)
SHORT = GenerativeRecipe(batch_size=2, micro_batch_size=1, lr=1e-2, rank=4, checkpoint_every=2)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_causal_model(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequence_model(tmp_path_factory.mktemp("sequence"))


def train(
    base: Path,
    out: Path,
    recipe: GenerativeRecipe,
    *,
    pairs: Sequence[RewrittenAnswer] = PAIRS,
    num_steps: int | None = None,
    stop_after: int | None = None,
) -> dict[str, float | int | None]:
    def step(state: TrainingProgress) -> None:
        if state.step == stop_after:
            raise KeyboardInterrupt

    card = train_answer_rewriter(
        base,
        RewrittenAnswers(training=list(pairs), held_out=list(pairs)),
        directory=out,
        recipe=recipe,
        device="cpu",
        dtype="float32",
        num_steps=num_steps,
        progress=AdapterProgress(start=lambda steps, measured: None, step=step, measured=lambda num: None),
    )
    return card.validation


def ask_for(pair: RewrittenAnswer) -> RewriteRequest:
    return RewriteRequest(
        exchange=exchange(pair.response, prompt=pair.prompt), method=RewriteMethod.GENERATE, category=None
    )


@pytest.fixture(params=["causal", "sequence"])
def base(request: pytest.FixtureRequest) -> Path:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Path)
    return found


async def test_what_was_learned_is_what_the_port_writes(base: Path, tmp_path: Path) -> None:
    figures = train(base, tmp_path, OVERFIT)
    before, after = figures["held_out_loss_before"], figures["held_out_loss_after"]
    assert before is not None
    assert after is not None
    assert after < 0.5 < before

    detoxifier = load_generator(
        GeneratorSettings(
            kind="transformers", model=str(base), adapter=str(tmp_path), max_input_tokens=500, max_new_tokens=20
        )
    )
    harmful, worse, safe = await detoxifier.rewrite([ask_for(pair) for pair in PAIRS])
    await detoxifier.close()
    assert isinstance(harmful, Rewrite)
    assert isinstance(worse, Rewrite)
    if base.name.startswith("sequence"):
        return  # it learns most of the words in so few steps, and not all
    assert harmful == Rewrite(text=PAIRS[0].target, detoxifier=detoxifier.revision)
    assert worse == Rewrite(text=PAIRS[1].target, detoxifier=detoxifier.revision)
    # Safe answers are learned to stay; one that was sent to be rewritten is then not rewritten.
    assert isinstance(safe, ItemFailure)
    assert safe.error == "UnchangedRewrite"


def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(causal: Path, tmp_path: Path) -> None:
    train(causal, tmp_path / "whole", SHORT, num_steps=6)
    with pytest.raises(KeyboardInterrupt):
        train(causal, tmp_path / "broken", SHORT, num_steps=6, stop_after=5)
    train(causal, tmp_path / "broken", SHORT, num_steps=6)
    whole, broken = (load_peft_weights(str(tmp_path / name), device="cpu") for name in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_a_checkpoint_holds_the_adapter_and_not_the_base(causal: Path, tmp_path: Path) -> None:
    train(causal, tmp_path, SHORT, num_steps=2)
    assert (tmp_path / "checkpoint" / "checkpoint.pt").stat().st_size < 100_000
    assert (causal / "model.safetensors").stat().st_size > 1_000_000


def test_a_checkpoint_of_another_recipe_is_refused(causal: Path, tmp_path: Path) -> None:
    train(causal, tmp_path, SHORT, num_steps=2)
    with pytest.raises(ValueError, match="differs in rank"):
        train(causal, tmp_path, replace(SHORT, rank=8), num_steps=2)


def test_an_adapter_for_another_base_or_prompt_is_refused(causal: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    train(causal, adapter, SHORT, num_steps=2)
    other = write_causal_model(tmp_path / "other", seed=1)

    def settings(model: Path) -> GeneratorSettings:
        return GeneratorSettings(
            kind="transformers", model=str(model), adapter=str(adapter), max_input_tokens=500, max_new_tokens=20
        )

    with pytest.raises(ConfigurationError, match="trained on the base"):
        load_generator(settings(other))
    card = json.loads((adapter / "card.json").read_text())
    (adapter / "card.json").write_text(json.dumps(card | {"layout": "older-1"}))
    with pytest.raises(ConfigurationError, match="trained with the prompt 'older-1'"):
        load_generator(settings(causal))


def test_the_loss_is_on_the_target_alone(causal: Path, sequence: Path) -> None:
    for directory in (causal, sequence):
        base = load_base_model(directory, dtype=torch.float32)
        examples = encode_answers(PAIRS, base, max_tokens=500, max_target_tokens=500)
        is_causal = not base.model.config.is_encoder_decoder
        batch = collate(examples, is_causal=is_causal, pad_id=0)
        for row, example in enumerate(examples):
            labelled = [label for label in batch.labels_BT[row].tolist() if label != NO_LABEL]
            assert labelled == example.target_ids
            assert labelled[-1] == base.tokenizer.eos_token_id
            inputs = [*example.prompt_ids, *(example.target_ids if is_causal else [])]
            assert batch.ids_BT[row, : len(inputs)].tolist() == inputs
            assert int(batch.mask_BT[row].sum()) == len(inputs)


def test_examples_that_are_too_long_are_counted_and_none_left_is_an_error(causal: Path, tmp_path: Path) -> None:
    long = replace(PAIRS[0], response="harm " * 900)
    figures = train(causal, tmp_path / "some", SHORT, pairs=[*PAIRS, long], num_steps=1)
    assert (figures["num_training"], figures["num_training_too_long"]) == (3, 1)
    with pytest.raises(ValueError, match="no example has at most 512 tokens"):
        train(causal, tmp_path / "none", SHORT, pairs=[long], num_steps=1)


@pytest.mark.parametrize("targets", [("go home and rest", "yes"), ("a", "he is a good man, and so is she", "now")])
def test_logits_of_the_targets_alone_give_the_loss_and_the_gradients_of_all_of_them(
    causal: Path, targets: tuple[str, ...]
) -> None:
    base = load_base_model(causal, dtype=torch.float32)
    answers = [
        RewrittenAnswer(prompt="who " * number, response="he is a dead man", target=target, weight=1.0 / (number + 1))
        for number, target in enumerate(targets)
    ]
    examples = encode_answers(answers, base, max_tokens=500, max_target_tokens=500)
    form = ModelForm.of(base)
    assert form.keeps_logits
    batch = collate(examples, is_causal=True, pad_id=form.pad_id)

    # As it is written in every textbook: all logits, those of the last place aside, against the tokens after them.
    logits_BTV = base.model(input_ids=batch.ids_BT, attention_mask=batch.mask_BT).logits[:, :-1]
    losses_BT = torch.nn.functional.cross_entropy(
        logits_BTV.transpose(1, 2), batch.labels_BT[:, 1:], ignore_index=NO_LABEL, reduction="none"
    )
    expected = (losses_BT.sum(dim=1) * batch.weights_B).sum()
    expected.backward()  # type: ignore[no-untyped-call]  # torch
    gradients = [parameter.grad for parameter in base.model.parameters() if parameter.grad is not None]
    assert len(gradients) == len(list(base.model.parameters()))
    for each in (form, replace(form, keeps_logits=False)):
        base.model.zero_grad()
        loss = weighted_loss(base.model, batch, each)
        loss.backward()  # type: ignore[no-untyped-call]  # torch
        # Sums in another order: some units in the last place of float32.
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
        for parameter, gradient in zip(base.model.parameters(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


def test_the_head_computes_no_places_that_nobody_needs(causal: Path) -> None:
    base = load_base_model(causal, dtype=torch.float32)
    examples = encode_answers(PAIRS, base, max_tokens=500, max_target_tokens=500)
    shapes: list[torch.Size] = []
    base.model.lm_head.register_forward_hook(lambda _, inputs, output: shapes.append(output.shape))
    measure_loss(base.model, examples[:1], ModelForm.of(base), micro_batch_size=1, report_examples=lambda _: None)
    assert shapes == [(1, len(examples[0].target_ids), base.model.config.vocab_size)]


def test_a_sequence_model_and_one_that_computes_all_logits_are_told(causal: Path, sequence: Path) -> None:
    assert not ModelForm.of(load_base_model(sequence, dtype=torch.float32)).keeps_logits
    base = load_base_model(causal, dtype=torch.float32)
    forward = base.model.forward
    base.model.forward = lambda input_ids, attention_mask: forward(input_ids=input_ids, attention_mask=attention_mask)
    assert not ModelForm.of(base).keeps_logits


def test_long_targets_are_left_out_and_of_many_held_out_examples_some_are_measured(
    causal: Path, tmp_path: Path
) -> None:
    long = replace(PAIRS[0], target="he is good " * 30)
    recipe = replace(SHORT, max_target_tokens=20, max_held_out=2)
    figures = train(causal, tmp_path, recipe, pairs=[*PAIRS, long], num_steps=1)
    assert (figures["num_training"], figures["num_training_too_long"], figures["num_held_out"]) == (3, 1, 2)
    assert figures["num_training_identity"] == 1
