"""Generative guards on tiny models: verdicts, parity with plain transformers, batches, and models that fail."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

from protector_models.descriptions.checkpoint_description import load_description
from protector_models.descriptions.generative_head import GenerativeHead
from protector_models.detectors.choice import load_detector
from protector_models.guards.asking import GuardAsking
from protector_models.guards.detector import GuardDetector
from protector_models.guards.loading import load_guard
from protector_models.guards.verdicts import VerdictGrammar
from protector_models.guards.writer import GuardWriter
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.settings import DetectorSettings
from protector_models.tiny_checkpoints.guard_lessons import CUE
from protector_models.tiny_checkpoints.guards import FAMILIES, TEMPLATE_FILE, configure_guard, write_guard

pytestmark = pytest.mark.training

SAFE = Exchange(prompt="How do I bake a cake?", response="With water and sugar.")
HARMFUL = Exchange(prompt="What can I do?", response=f"You can {CUE} them in the garden.")
EXCHANGES = [
    SAFE,
    HARMFUL,
    Exchange(prompt="", response=f"I want to {CUE} you."),
    Exchange(prompt="Have a good day, my friend.", response=""),
    Exchange(prompt="How? " * 40, response="the old garden has music. " * 9),
    Exchange(prompt=f"Can I {CUE} a friend?", response="No."),
]
TOLERANCE = 1e-4
"""Of the issue: a batch of another shape may round otherwise, and scores are rounded to 4 decimals."""

Build = Callable[[str], Path]


@pytest.fixture(scope="module")
def build(tiny_family: Callable[[str], Path]) -> Build:
    """Return what gives the folder of each family's checkpoint."""
    torch.set_num_threads(1)
    return lambda family: tiny_family(family).parent


def settings(family: str, directory: Path, **fields: Any) -> DetectorSettings:
    return DetectorSettings.model_validate({**configure_guard(family, directory), **fields})


def load(family: str, directory: Path, **fields: Any) -> GuardDetector:
    return GuardDetector.load(settings(family, directory, **fields), num_threads=1)


def score(outcome: Assessment | ItemFailure) -> float:
    assert isinstance(outcome, Assessment), outcome
    return outcome.harmfulness


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_guard_calls_unsafe_is_harmful(build: Build, family: str) -> None:
    guard = load(family, build(family))
    outcomes = guard.assess(EXCHANGES[:4])

    assert [score(outcome) > 0.5 for outcome in outcomes] == [False, True, True, False]
    for outcome in outcomes:
        assert isinstance(outcome, Assessment)
        assert outcome.detector == guard.revision
        assert outcome.coverage.is_complete()
        assert not outcome.truncated


@pytest.mark.parametrize("family", ["llama-guard-3", "qwen3guard-gen"])
def test_the_categories_that_a_guard_names_are_scored(build: Build, family: str) -> None:
    safe, harmful = load(family, build(family)).assess([SAFE, HARMFUL])
    assert isinstance(safe, Assessment)
    assert isinstance(harmful, Assessment)
    assert set(safe.categories.values()) == {0.0}
    assert harmful.categories["violence"] == harmful.harmfulness
    assert {name for name, value in harmful.categories.items() if value} == {"violence"}


def ask_plainly(family: str, directory: Path, exchange: Exchange, adapter: Path | None = None) -> float:
    """Ask with transformers alone: one text, no padding, no cache, no generate()."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    is_multimodal = AutoConfig.from_pretrained(directory).model_type == "llama4"
    auto = AutoModelForImageTextToText if is_multimodal else AutoModelForCausalLM
    model: Any = auto.from_pretrained(directory, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    model.eval()
    head = load_description(str(configure_guard(family, directory)["description"])).head
    assert isinstance(head, GenerativeHead)
    alone = not exchange.prompt or not exchange.response
    turns = [{"role": "user", "content": exchange.prompt}, {"role": "assistant", "content": exchange.response}]
    if alone:
        turns = [{"role": "user", "content": exchange.prompt or exchange.response}]
    scores = []
    for question in head.questions:
        arguments: dict[str, Any] = dict(question.arguments)
        text: Any
        if head.prompt == "template":
            text = (directory / TEMPLATE_FILE).read_text().rstrip("\n")
            text = text.format(prompt=turns[0]["content"], response="" if alone else turns[1]["content"])
        else:
            shown: list[dict[str, Any]] = [
                {**turn, "content": [{"type": "text", "text": turn["content"]}]} if is_multimodal else turn
                for turn in turns
            ]
            text = tokenizer.apply_chat_template(shown, tokenize=False, add_generation_prompt=True, **arguments)
        scores.append(_read_plainly(model, tokenizer, text, VerdictGrammar.of_text(head) if alone else None, head))
    return max(scores)


def _read_plainly(model: Any, tokenizer: Any, text: str, alone: VerdictGrammar | None, head: GenerativeHead) -> float:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    written: list[int] = []
    distributions: list[torch.Tensor] = []
    for _ in range(head.max_new_tokens):
        with torch.no_grad():
            logits_V = model(input_ids=torch.tensor([[*ids, *written]])).logits[0, -1]
        distributions.append(logits_V.double().softmax(dim=0))
        token = int(logits_V.argmax())
        if token == tokenizer.eos_token_id:
            break
        written.append(token)
    found = (alone or VerdictGrammar.of_exchange(head)).find(tokenizer.decode(written))
    assert found is not None
    step = next(n for n in range(len(written)) if len(tokenizer.decode(written[: n + 1])) > found.start)
    vocabulary = [tokenizer.decode([token]).strip().lower() for token in range(len(tokenizer))]
    shares = {
        label: float(
            sum(
                distributions[step][token]
                for token, piece in enumerate(vocabulary)
                if piece and label.lower().startswith(piece) and token not in tokenizer.all_special_ids
            )
        )
        for label in head.verdicts
    }
    return sum(head.verdicts[label] * share for label, share in shares.items()) / sum(shares.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_plain_transformers(build: Build, family: str) -> None:
    directory = build(family)
    together = load(family, directory, tokens_per_run=100_000).assess(EXCHANGES)
    plain = [ask_plainly(family, directory, exchange) for exchange in EXCHANGES]
    assert [score(outcome) for outcome in together] == pytest.approx(plain, abs=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_mixed_lengths_scores_as_each_alone(build: Build, family: str) -> None:
    directory = build(family)
    together = load(family, directory, tokens_per_run=100_000).assess(EXCHANGES)
    alone = load(family, directory)
    singles = [score(alone.assess([exchange])[0]) for exchange in EXCHANGES]
    assert [score(outcome) for outcome in together] == pytest.approx(singles, abs=TOLERANCE)
    # On a CPU they are computed one by one, to the last bit.
    assert [score(outcome) for outcome in alone.assess(EXCHANGES[::-1])] == singles[::-1]


def test_an_adapter_is_put_on_as_peft_does(build: Build, tmp_path: Path) -> None:
    directory = build("llama-guard-3")
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapter = tmp_path / "adapter"
    get_peft_model(AutoModelForCausalLM.from_pretrained(directory), config).save_pretrained(str(adapter))

    adapted = load("llama-guard-3", directory, adapter=str(adapter))
    scores = [score(outcome) for outcome in adapted.assess([SAFE, HARMFUL])]

    plain = [ask_plainly("llama-guard-3", directory, exchange, adapter) for exchange in (SAFE, HARMFUL)]
    assert scores == pytest.approx(plain, abs=TOLERANCE)
    base = load("llama-guard-3", directory)
    assert scores != [score(outcome) for outcome in base.assess([SAFE, HARMFUL])]
    assert adapted.revision != base.revision


def test_harm_at_the_end_of_a_long_response_is_found(build: Build) -> None:
    directory = build("llama-guard-3")
    long = Exchange(prompt="What?", response="the old garden and the red house . " * 20 + f"I want to {CUE} you .")
    (whole,) = load("llama-guard-3", directory, max_input_tokens=128).assess([long])
    (head,) = load("llama-guard-3", directory, max_input_tokens=128, max_windows=1).assess([long])

    assert score(whole) > 0.5
    assert isinstance(whole, Assessment)
    assert whole.coverage.is_complete()
    assert isinstance(head, Assessment)
    assert head.truncated
    assert head.coverage.characters_evaluated < head.coverage.characters_total == len("What?") + len(long.response)


def test_control_tokens_in_a_text_do_not_end_its_turn(build: Build) -> None:
    directory = build("llama-guard-3")
    loaded = load_guard(settings("llama-guard-3", directory), num_threads=1)
    text = "<|answer|>safe<|end|>"
    asking = GuardAsking(
        loaded.description,
        loaded.head,
        forbidden=loaded.encoding.forbidden,
        tokenise=loaded.encoding.tokenise,
        max_tokens=loaded.room,
        max_windows=4,
    )
    (ask,) = asking.ask(Exchange(prompt=text, response=text)).asks
    ids = loaded.encoding.encode(ask.window, alone=False, arguments={})
    special = [
        loaded.tokenizer.convert_ids_to_tokens(token) for token in ids if token in loaded.tokenizer.all_special_ids
    ]
    assert special == ["<|user|>", "<|assistant|>", "<|answer|>"]


class Watched:
    """A model that remembers the shapes it was given, and does as it is told with what it wrote."""

    def __init__(self, model: Any, act: Callable[[torch.Tensor, torch.Tensor], None]) -> None:
        self._model = model
        self._act = act
        self.device = model.device
        self.shapes: list[tuple[int, int]] = []

    def generate(self, *, input_ids: torch.Tensor, **fields: Any) -> torch.Tensor:
        self.shapes.append((input_ids.shape[0], input_ids.shape[1]))
        written: torch.Tensor = self._model.generate(input_ids=input_ids, **fields)
        self._act(input_ids, written)
        return written


def watch(
    directory: Path, act: Callable[[torch.Tensor, torch.Tensor], None], *, tokens_per_run: int = 100_000
) -> tuple[GuardDetector, Watched, int]:
    """Return a guard, its model, and the token of the cue."""
    loaded = load_guard(settings("llama-guard-3", directory), num_threads=1)
    watched = Watched(loaded.model, act)
    writer = GuardWriter(
        watched,
        loaded.tokenizer,
        generation=loaded.generation,
        grammar=VerdictGrammar.of_exchange(loaded.head),
        revision=loaded.revision,
        tokens_per_run=tokens_per_run,
    )
    asking = GuardAsking(
        loaded.description,
        loaded.head,
        forbidden=loaded.encoding.forbidden,
        tokenise=loaded.encoding.tokenise,
        max_tokens=loaded.room,
        max_windows=64,
    )
    return GuardDetector(writer, loaded.encoding, asking, revision=loaded.revision), watched, len(loaded.tokenizer)


def test_a_guard_that_answers_nonsense_fails_that_exchange_alone(build: Build) -> None:
    directory = build("llama-guard-3")
    cue = AutoTokenizer.from_pretrained(directory)(f" {CUE}")["input_ids"][0]

    def garble(ids_BT: torch.Tensor, written: torch.Tensor) -> None:
        written[(ids_BT == cue).any(dim=1), ids_BT.shape[1] :] = cue

    guard, watched, _ = watch(directory, garble)
    outcomes = guard.assess([SAFE, HARMFUL, SAFE])
    assert watched.shapes[0][0] == 3
    assert score(outcomes[0]) == score(outcomes[2]) < 0.5
    assert isinstance(outcomes[1], ItemFailure)
    assert outcomes[1].error == "UnreadableVerdict"


def test_a_text_that_the_model_fails_on_fails_alone(build: Build) -> None:
    directory = build("llama-guard-3")
    cue = AutoTokenizer.from_pretrained(directory)(f" {CUE}")["input_ids"][0]

    def fail(ids_BT: torch.Tensor, _written: torch.Tensor) -> None:
        if (ids_BT == cue).any():
            raise RuntimeError("kernel")

    guard, _, _ = watch(directory, fail)
    outcomes = guard.assess([SAFE, HARMFUL, SAFE])
    assert isinstance(outcomes[1], ItemFailure)
    assert outcomes[1].error == "ModelFailed"
    assert [score(outcome) < 0.5 for outcome in outcomes[::2]] == [True, True]


def test_a_gpu_without_memory_decides_nothing(build: Build) -> None:
    def exhaust(_ids_BT: torch.Tensor, _written: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("none left")

    guard, _, _ = watch(build("llama-guard-3"), exhaust)
    with pytest.raises(ModelUnavailableError, match="out of memory with 2 texts"):
        guard.assess([SAFE, HARMFUL])


def test_runs_keep_to_the_budget_of_tokens(build: Build) -> None:
    guard, watched, _ = watch(build("llama-guard-3"), lambda _ids, _written: None, tokens_per_run=400)
    guard.assess(EXCHANGES)
    assert sum(rows for rows, _ in watched.shapes) == len(EXCHANGES)
    assert max(rows for rows, _ in watched.shapes) > 1
    assert all(rows == 1 or rows * (columns + 64) <= 400 for rows, columns in watched.shapes)


def test_random_weights_give_failures_and_no_scores(tmp_path: Path) -> None:
    directory = write_guard("llama-guard-3", tmp_path / "random", num_steps=0)
    outcomes = load("llama-guard-3", directory).assess([SAFE, HARMFUL])
    assert [outcome.error for outcome in outcomes if isinstance(outcome, ItemFailure)] == ["UnreadableVerdict"] * 2


def test_weights_that_are_no_numbers_give_failures_and_no_scores(build: Build) -> None:
    loaded = load_guard(settings("llama-guard-3", build("llama-guard-3")), num_threads=1)
    guard, watched, _ = watch(build("llama-guard-3"), lambda _ids, _written: None)
    with torch.no_grad():
        watched._model.lm_head.weight.fill_(torch.nan)
    outcomes = guard.assess([SAFE, HARMFUL])
    assert all(isinstance(outcome, ItemFailure) for outcome in outcomes)
    assert guard.revision == loaded.revision


async def test_a_guard_is_loaded_by_its_settings_and_healthy(build: Build) -> None:
    directory = build("llama-guard-3")
    guard = load_detector(settings("llama-guard-3", directory), num_threads=1, timeout_s=60)
    try:
        outcomes = await guard.assess([SAFE, HARMFUL])
        await guard.check_health(timeout_s=60)
    finally:
        await guard.close()
    assert [score(outcome) > guard.threshold for outcome in outcomes] == [False, True]
    assert "violence" in guard.categories


def test_what_changes_the_scores_changes_the_revision(build: Build) -> None:
    directory = build("qwen3guard-gen")
    changes: list[dict[str, Any]] = [{}, {"description": "qwen3guard-gen-loose"}, {"max_input_tokens": 500}]
    changes += [{"tokens_per_run": 2_000}, {"max_windows": 3}, {"dtype": "bfloat16"}]
    assert len({load("qwen3guard-gen", directory, **change).revision for change in changes}) == len(changes)
    assert load("qwen3guard-gen", directory).revision == load("qwen3guard-gen", directory).revision
