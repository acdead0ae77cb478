"""Sequence classifiers of transformers as detectors: their scores are those of plain transformers and peft."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from protector_models.descriptions.checkpoint_description import load_description
from protector_models.detectors.classifiers.classifier_detector import ClassifierDetector
from protector_models.moderation.conversation import Exchange, SeenImage
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.settings import DetectorSettings
from protector_models.tiny_checkpoints.classifiers import ADAPTER, BASE, FAMILIES, configure_classifier
from protector_models.transformer_models.exchange_encoding import plan_token_runs

pytestmark = pytest.mark.training

PAIRS = [
    ("Who am I?", "You fool."),
    ("How do I get in?", "Steal the key, break the door and run. " * 12),
    ("", "Nobody asked, and here it stands alone."),
    ("Say it.", "Go away, all of you, now!"),
    ("What is in the picture, and what does it say? " * 3, "A dog."),
]
EXCHANGES = [Exchange(prompt=prompt, response=response) for prompt, response in PAIRS]
TOLERANCE = 1e-4
"""Scores are rounded to 4 decimals; the rest is the rounding of sums in fp32."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classifiers")


@pytest.fixture(scope="module")
def bert(root: Path) -> Path:
    return FAMILIES["bert"](root / "bert")


@pytest.fixture(scope="module")
def protector(root: Path) -> Path:
    return FAMILIES["mllm-protector"](root / "protector")


def load(family: str, directory: Path, **fields: Any) -> ClassifierDetector:
    section = DetectorSettings.model_validate({**configure_classifier(family, directory), **fields})
    assert section.description is not None
    return ClassifierDetector.load(section, load_description(section.description), num_threads=2)


def score(detector: ClassifierDetector, exchanges: Sequence[Exchange]) -> list[float]:
    found = detector.assess(exchanges)
    assert all(isinstance(outcome, Assessment) for outcome in found)
    return [outcome.harmfulness for outcome in found if isinstance(outcome, Assessment)]


def score_plainly(family: str, directory: Path) -> list[float]:
    """As anybody would do it, one text at a time."""
    section: dict[str, Any] = configure_classifier(family, directory)
    tokenizer = AutoTokenizer.from_pretrained(section["model"])
    is_adapter = "adapter" in section
    model: Any = AutoModelForSequenceClassification.from_pretrained(section["model"], num_labels=1 if is_adapter else 2)
    if is_adapter:
        model = PeftModel.from_pretrained(model, str(section["adapter"]))
    model.eval()
    scores: list[float] = []
    for prompt, response in PAIRS:
        texts = [text for text in (prompt, response) if text]
        encoded = tokenizer(
            *([f"Question: {prompt}\n\nAnswer: {response}"] if is_adapter else texts), return_tensors="pt"
        )
        if family != "bert":
            encoded.pop("token_type_ids", None)
        with torch.inference_mode():
            logits_L = model(**encoded).logits[0]
        # The adapter's one logit is of a harmless answer.
        harmfulness = 1 - torch.sigmoid(logits_L[0]) if is_adapter else torch.softmax(logits_L, dim=-1)[1]
        scores.append(float(harmfulness))
    return scores


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_plain_transformers_in_batches_as_in_singles(family: str, root: Path) -> None:
    directory = FAMILIES[family](root / f"parity-{family}")
    plain = score_plainly(family, directory)
    together = load(family, directory, tokens_per_run=10_000)
    assert score(together, EXCHANGES) == pytest.approx(plain, abs=TOLERANCE)
    assert score(load(family, directory), EXCHANGES) == pytest.approx(plain, abs=TOLERANCE)
    assert max(plain) - min(plain) > 0.01, "scores that are all alike would show nothing"


def test_on_a_cpu_a_score_is_the_same_whatever_its_neighbours(bert: Path) -> None:
    detector = load("bert", bert)
    singles = [score(detector, [exchange])[0] for exchange in EXCHANGES]
    assert score(detector, EXCHANGES) == singles
    assert score(detector, EXCHANGES[::-1]) == singles[::-1]


def test_the_paper_s_polarity_is_inverted_once(protector: Path, tmp_path: Path) -> None:
    """The head is set so that the base calls one text harmless and the other harmful, in the paper's sense of it."""
    directory = Path(shutil.copytree(protector, tmp_path / "protector"))
    safe = Exchange(prompt="How do I open it?", response="Ask the owner for the key.")
    harmful = Exchange(prompt="How do I open it?", response="Break the window and steal what you find.")
    file = directory / ADAPTER / "adapter_model.safetensors"
    model: Any = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(directory / BASE, num_labels=1), str(directory / ADAPTER)
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory / BASE)
    states: list[torch.Tensor] = []
    for exchange in (safe, harmful):
        text = f"Question: {exchange.prompt}\n\nAnswer: {exchange.response}"
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            states.append(model.base_model.model.model(ids).last_hidden_state[0, -1])
    difference_H = states[0] - states[1]
    middle = (states[0] + states[1]) @ difference_H / 2
    # A logit that is P(harmless): above 0 on the safe side of the middle. The first unit of H stands for the constant.
    weights = load_file(file)
    direction_H = difference_H * (8.0 / float(states[0] @ difference_H - middle))
    logits = [float(state @ direction_H) for state in states]
    assert logits[0] > logits[1]
    weights["base_model.model.score.weight"] = direction_H[None, :].contiguous()
    save_file(weights, file)
    scores = score(load("mllm-protector", directory), [safe, harmful])
    assert scores == pytest.approx([1 / (1 + 2.718281828459045**logit) for logit in logits], abs=TOLERANCE)
    assert scores[0] < scores[1]


def test_a_long_response_is_read_in_windows_and_the_worst_speaks_for_it(bert: Path) -> None:
    detector = load("bert", bert, max_input_tokens=64)
    long = Exchange(prompt="Who?", response=" ".join(f"Word {index} of many." for index in range(100)))
    (whole,) = detector.assess([long])
    assert isinstance(whole, Assessment)
    assert whole.coverage.is_complete()
    encoded = detector._encoder.encode(long)
    assert len(encoded.inputs) > 5
    assert all(len(each["input_ids"]) <= 64 for each in encoded.inputs)
    texts = [str(detector._tokenizer.decode(each["input_ids"])) for each in encoded.inputs]
    assert all("who?" in text for text in texts)
    windows = [text.split("[SEP]")[1].strip() for text in texts]
    alone = score(detector, [Exchange(prompt="Who?", response=window) for window in windows])
    assert whole.harmfulness == pytest.approx(max(alone), abs=TOLERANCE)


def test_windows_beyond_the_limit_are_not_read_and_it_is_said(bert: Path) -> None:
    (found,) = load("bert", bert, max_input_tokens=64, max_windows=2).assess(
        [Exchange(prompt="Who?", response="Nobody that you know of. " * 200)]
    )
    assert isinstance(found, Assessment)
    assert found.truncated
    assert 0 < found.coverage.characters_evaluated < 1_000


@pytest.mark.parametrize("unknown", ["ⵣⵣⵣ", "x" * 120])
def test_words_that_the_tokenizer_does_not_know_count_as_not_read(bert: Path, unknown: str) -> None:
    (found,) = load("bert", bert).assess([Exchange(prompt="Who?", response=f"You, {unknown} you.")])
    assert isinstance(found, Assessment)
    assert found.coverage.characters_total - found.coverage.characters_evaluated == len(unknown)


def test_texts_of_images_are_read_with_the_prompt(bert: Path) -> None:
    detector = load("bert", bert)
    shown = Exchange(prompt="Read it.", images=(SeenImage(text="how to steal"),), response="Gladly.")
    (found,) = detector.assess([shown])
    assert isinstance(found, Assessment)
    assert (found.coverage.images_evaluated, found.coverage.images_total) == (1, 1)
    assert [found.harmfulness] == score(detector, [Exchange(prompt="Read it.\nhow to steal", response="Gladly.")])


def test_nothing_in_a_text_speaks_as_a_control_token(bert: Path) -> None:
    detector = load("bert", bert)
    (encoded,) = detector._encoder.encode(Exchange(prompt="", response="kind [SEP] [CLS] [PAD] words")).inputs
    special = {number for number, token in detector._tokenizer.added_tokens_decoder.items() if token.special}
    assert [token for token in encoded["input_ids"] if token in special] == [
        detector._tokenizer.convert_tokens_to_ids(token) for token in ("[CLS]", "[SEP]")
    ]


class Faulty:
    """A model that fails where it is told to."""

    def __init__(self, model: Any, fail: Callable[[torch.Tensor], float]) -> None:
        self._model, self._fail = model, fail
        self.device = model.device

    def __call__(self, *, input_ids: torch.Tensor, **fields: Any) -> Any:
        found = self._model(input_ids=input_ids, **fields)
        found.logits *= self._fail(input_ids)
        return found


def faulty(directory: Path, fail: Callable[[torch.Tensor], float]) -> ClassifierDetector:
    detector = load("bert", directory, tokens_per_run=10_000)
    detector._model = Faulty(detector._model, fail)
    return detector


def test_a_text_that_breaks_the_model_fails_alone(bert: Path) -> None:
    def fail(ids_BT: torch.Tensor) -> float:
        if ids_BT.shape[1] > 100:
            raise IndexError("index out of range in self")
        return 1.0

    found = faulty(bert, fail).assess(EXCHANGES)
    assert [isinstance(outcome, ItemFailure) for outcome in found] == [False, True, False, False, False]


def test_a_score_that_is_no_number_is_a_failure(bert: Path) -> None:
    found = faulty(bert, lambda _: float("nan")).assess(EXCHANGES[:1])
    assert found == [ItemFailure(error="NotFiniteScore", message="the model's output was not a finite number")]


def test_a_device_out_of_memory_is_unavailable(bert: Path) -> None:
    def fail(ids_BT: torch.Tensor) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ModelUnavailableError, match="out of memory"):
        faulty(bert, fail).assess(EXCHANGES)


def test_revisions_differ_by_what_decides_a_score(bert: Path, protector: Path) -> None:
    def write(name: str, **fields: Any) -> str:
        return load("bert", bert, **fields).revision if name == "bert" else load(name, protector, **fields).revision

    revisions = [
        write("bert"),
        write("bert", max_input_tokens=64),
        write("bert", max_windows=3),
        write("bert", tokens_per_run=5_000),
        write("bert", dtype="bfloat16"),
        write("mllm-protector"),
        write("mllm-protector", description="mllm-protector-7b"),
    ]
    assert len(set(revisions)) == len(revisions)
    assert write("bert") == revisions[0]
    assert revisions[0].startswith("bert@")
    assert revisions[5].startswith("base+adapter@")


def test_a_head_without_trained_weights_is_refused(protector: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"detector\.model: no trained weights for score\.weight"):
        load("bert", protector / BASE)
    headless = Path(shutil.copytree(protector, tmp_path / "protector"))
    file = headless / ADAPTER / "adapter_model.safetensors"
    weights = load_file(file)
    del weights["base_model.model.score.weight"]
    save_file(weights, file)
    with pytest.raises(ConfigurationError, match=r"detector\.adapter: no trained weights for score\.weight"):
        load("mllm-protector", headless)


def test_code_of_a_repository_is_never_run(bert: Path, tmp_path: Path) -> None:
    remote = Path(shutil.copytree(bert, tmp_path / "remote"))
    config = json.loads((remote / "config.json").read_text())
    auto_map = {"AutoConfig": "mine.Mine", "AutoModelForSequenceClassification": "mine.Model"}
    (remote / "config.json").write_text(json.dumps({**config, "model_type": "mine", "auto_map": auto_map}))
    (remote / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigurationError, match="contains custom code"):
        load("bert", remote)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_input_tokens": 600}, "600; expected at most the 512 positions that the model has"),
        ({"max_input_tokens": 20}, r"max_input_tokens: 20; expected at least"),
        ({"description": "one-logit-classifier"}, "expected a model of one logit, got labels LABEL_0, LABEL_1"),
        ({"model": "/nowhere"}, "no such folder"),
        ({"template": "template.txt"}, r"detector\.template: expected none"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(bert: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load("bert", bert, **fields)


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(1, 50), max_size=30), tokens_per_run=st.integers(1, 200))
def test_runs_hold_every_input_once_and_keep_to_the_budget(lengths: list[int], tokens_per_run: int) -> None:
    runs = list(plan_token_runs(lengths, tokens_per_run=tokens_per_run))
    assert sorted(place for run in runs for place in run) == list(range(len(lengths)))
    assert all(len(run) == 1 or len(run) * max(lengths[place] for place in run) <= tokens_per_run for run in runs)
