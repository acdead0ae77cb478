"""`weir schema`, `weir config`, `weir version`, and the help of every command."""

import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no type information
import pytest
import typer
import yaml

from pipelines.__main__ import app
from pipelines.demo.conversations import load_records
from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.wire.codec import decode_event
from tests.pipelines.commands.command_line import weir
from tests.wire import EVENT, MAX_BYTES, encode

pytestmark = pytest.mark.shipped

SECRET = "hunter2hunter2"
REPOSITORY = Path(__file__).parents[3]


SDK_DUMPS = Path(__file__).parents[1] / "sdk_dumps"


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WEIR_"):
            monkeypatch.delenv(name)


def validator(what: str) -> Any:
    schema = json.loads(weir("schema", what).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def is_event(value: bytes) -> bool:
    try:
        decode_event(value, max_bytes=MAX_BYTES)
    except InvalidEventError:
        return False
    return True


def commands() -> list[tuple[str, ...]]:
    """Return every command and group of commands, by the words that call it."""

    def below(command: Any, words: tuple[str, ...]) -> list[tuple[str, ...]]:
        children = getattr(command, "commands", {})
        return [words, *(path for name, child in children.items() for path in below(child, (*words, name)))]

    return below(typer.main.get_command(app), ())


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    finished = weir(*words, "--help")
    assert finished.status == 0
    usage = next(line for line in finished.stdout.decode().splitlines() if "Usage:" in line)
    assert " ".join(words) in usage
    assert finished.stderr == ""


def test_all_commands_are_there() -> None:
    assert {words[0] for words in commands() if words} == {
        "demo", "serve", "moderate", "answer", "assess", "rewrite", "dead-letters", "train", "data", "eval", "bench",
        "models", "policy", "schema", "config", "version",
    }  # fmt: skip


def test_an_unknown_command_ends_with_2() -> None:
    assert weir("moderat").status == 2


def test_the_schema_of_events_takes_what_the_code_takes_and_refuses_what_it_refuses() -> None:
    events = validator("event")
    assert events.is_valid(EVENT)
    taken = [record.value for record in load_records()[:200] if is_event(record.value)]
    assert len(taken) > 150
    strange = [
        *(path.read_bytes() for path in SDK_DUMPS.glob("*.json")),
        encode(tenant=None, metadata=None, messages=[]),
        encode(messages=[{"role": "customer", "content": 5}, {}]),
        encode(response=["a", 5]),
    ]
    assert all(map(is_event, strange))
    taken += strange
    for value in taken:
        events.validate(json.loads(value))
    for wrong in (
        encode("event_id"),
        encode(schema_version=2),
        encode(event_id=""),
        encode(messages=["hi"]),
        encode(messages={}),
        encode(tenant=""),
        encode(metadata=[]),
        encode(response=5),
        encode(response={}),
        encode(answer="hi"),
    ):
        assert not is_event(wrong)
        assert not events.is_valid(json.loads(wrong))


def test_the_schemas_of_moderated_conversations_and_errors_take_what_is_written() -> None:
    events = [record.value for record in load_records()[:50] if is_event(record.value)]
    bad = [b"nonsense", encode(response=None), encode(schema_version=2)]
    strange = [encode(response=""), encode(messages=[{"role": "user"}]), encode(response="x" * 100_000)]
    out = weir("moderate", "-", stdin=b"\n".join([*events, *bad, *strange])).stdout
    moderated, errors = validator("moderated"), validator("error")
    lines = [json.loads(line) for line in out.splitlines()]
    assert sum("error" in line for line in lines) == 3
    for line in lines:
        (errors if "error" in line else moderated).validate(line)
        assert not (moderated if "error" in line else errors).is_valid(line)


def test_the_schema_of_the_policy_takes_the_policy_that_ships() -> None:
    shipped = REPOSITORY / "protector_models" / "policies" / "default_policy.yaml"
    validator("policy").validate(yaml.safe_load(shipped.read_text()))
    assert not validator("policy").is_valid({"version": "1", "rules": []})


def test_the_schema_of_the_configuration_takes_the_one_to_start_from() -> None:
    shipped = yaml.safe_load((REPOSITORY / "infra" / "weir.yaml").read_text())
    configuration = validator("config")
    configuration.validate(shipped)
    assert not configuration.is_valid({**shipped, "kafak": {}})


def test_a_format_that_there_is_not_ends_with_2_and_the_formats_that_there_are() -> None:
    finished = weir("schema", "events")
    assert finished.status == 2
    assert "moderated" in finished.stderr


def test_the_configuration_in_force_is_shown_as_yaml_that_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / "weir.yaml"
    file.write_text("stream: {group: g}")
    shown = weir("config", "show", "--config", file)
    file.write_bytes(shown.stdout)
    assert weir("config", "show", "--config", file).stdout == shown.stdout
    assert yaml.safe_load(shown.stdout)["stream"]["group"] == "g"


def test_variables_show_in_the_configuration_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", '["a:1"]')
    shown = json.loads(weir("config", "show", "--json").stdout)
    assert shown["kafka"]["bootstrap_servers"] == ["a:1"]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_secrets_are_masked(tmp_path: Path, form: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weir.yaml"
    file.write_text(
        f"kafka: {{sasl_password: {SECRET}, ssl_password: {SECRET}}}\nredis: {{url: 'redis://:{SECRET}@host'}}\n"
        "mllm: {kind: openai, base_url: 'http://host/v1', model: m}\n"
    )
    monkeypatch.setenv("WEIR_MLLM__API_KEY", SECRET)
    finished = weir("config", "show", "--config", file, *form)
    assert finished.status == 0
    assert SECRET not in finished.stdout.decode() + finished.stderr
    assert finished.stdout.decode().count("'**********'" if not form else '"**********"') == 4


def test_a_wrong_configuration_is_one_line_and_status_2(tmp_path: Path) -> None:
    file = tmp_path / "weir.yaml"
    file.write_text(f"redis: redis://:{SECRET}@host")
    finished = weir("config", "show", "--config", file)
    assert (finished.status, finished.stdout) == (2, b"")
    assert finished.error_line().startswith(f"weir: {file}, line 1: redis: ")
    assert SECRET not in finished.stderr


def test_the_version_is_told() -> None:
    assert f"weir {importlib.metadata.version('weir')}" in weir("version").stdout.decode().splitlines()
    assert json.loads(weir("version", "--json").stdout)["weir"] == importlib.metadata.version("weir")
