"""`weir policy check`: what it says of good and bad policy files."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from protector_models.policies.policy_file import load_policy
from tests.pipelines.commands.command_line import weir

POLICY = """\
version: mine-1
rules:
  - {category: any, threshold: 0.6, action: rewrite}
safe_completions: {default: No.}
tenants:
  kids: {on_unread_text: block}
"""


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WEIR_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def checked(*arguments: object) -> dict[str, Any]:
    finished = weir("policy", "check", *arguments, "--json")
    assert finished.status == 0, finished.stderr
    read: dict[str, Any] = json.loads(finished.stdout)
    return read


def test_a_policy_that_can_be_used_is_told_with_its_revision_rules_and_tenants(file: Path) -> None:
    told = checked(file)
    assert told["valid"] is True
    assert told["revision"] == load_policy(file).revision
    assert told["rules"] == [{"category": "any", "threshold": 0.6, "action": "rewrite"}]
    assert told["tenants"] == ["kids"]
    finished = weir("policy", "check", file)
    assert finished.status == 0
    shown = finished.stdout.decode()
    assert load_policy(file).revision in shown
    assert "any from 0.6 on: rewrite" in shown
    assert "rules.0.threshold" in shown


def test_it_is_compared_with_the_policy_that_ships(file: Path) -> None:
    told = checked(file)
    assert told["against"]["revision"] == load_policy(None).revision
    differences = {one["key"]: (one["before"], one["after"]) for one in told["differences"]}
    assert differences["rules.0.threshold"] == (0.494, 0.6)
    assert differences["tenants.kids"] == (None, {"on_unread_text": "block"})


def test_it_is_compared_with_another_file_where_one_is_named(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(POLICY.replace("0.6", "0.5"))
    told = checked(file, "--against", other)
    assert told["differences"] == [{"key": "rules.0.threshold", "before": 0.5, "after": 0.6}]
    assert checked(file, "--against", file)["differences"] == []
    assert b"says the same" in weir("policy", "check", file, "--against", file).stdout


@pytest.mark.parametrize(
    ("written", "line", "key", "words"),
    [
        ("threshold: 46%", 3, "rules.0.threshold", "no percent sign"),
        ("treshold: 0.6", 3, "rules.0.treshold", "threshold"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_key(file: Path, written: str, line: int, key: str, words: str) -> None:
    file.write_text(POLICY.replace("threshold: 0.6", written))
    finished = weir("policy", "check", file)
    assert finished.status == 2
    assert f"line {line}: {key}: " in finished.error_line()
    as_json = weir("policy", "check", file, "--json")
    assert as_json.status == 2
    told = json.loads(as_json.stdout)
    assert told["valid"] is False
    assert any((fault["line"], fault["key"]) == (line, key) and words in fault["message"] for fault in told["faults"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("version: [", "not YAML"),
        ("", "got nothing"),
        (POLICY.replace("any", "gossip"), "gossip"),
        (POLICY + "rewrite_methods: {default: [generate, complete]}\n", "detoxifier.generator.kind"),
    ],
    ids=["missing", "no YAML", "empty", "unknown category", "no generator"],
)
def test_what_cannot_be_read_or_does_not_fit_the_models_ends_with_2(
    file: Path, content: str | None, words: str
) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    finished = weir("policy", "check", file)
    assert finished.status == 2
    assert words in finished.error_line()
    told = json.loads(weir("policy", "check", file, "--json").stdout)
    assert told["valid"] is False
    assert any(words in fault["message"] for fault in told["faults"])


def test_the_models_are_those_of_the_configuration(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "weir.yaml"
    config.write_text("detector: {kind: transformers, model: m, description: mllm-protector-3b}\n")
    file.write_text(POLICY.replace("any", "hate"))
    assert weir("policy", "check", file).status == 0
    finished = weir("policy", "check", file, "--config", config)
    assert finished.status == 2
    assert "hate" in finished.error_line()
