"""How commands end: every error of Weir has its exit status, and commands that are wrongly configured end alike."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from pipelines.__main__ import app
from pipelines.commands.exit_statuses import ending_in_one_line, status_of
from protector_models.moderation.errors import ConfigurationError, DependencyError, InvalidEventError, UnansweredError
from protector_models.records.labelled_records import RecordError
from tests.pipelines.commands.command_line import weir
from tests.protector_models.error_tree import all_errors


def commands_with_a_configuration() -> dict[tuple[str, ...], list[str]]:
    """Return each command that takes `--config`, and what else it must be given."""
    found: dict[tuple[str, ...], list[str]] = {}

    def walk(command: Any, name: tuple[str, ...]) -> None:
        for step, below in getattr(command, "commands", {}).items():
            walk(below, (*name, step))
        if any("--config" in parameter.opts for parameter in command.params):
            required = [parameter for parameter in command.params if parameter.required]
            found[name] = [
                word
                for parameter in required
                for word in ([parameter.opts[0], "."] if parameter.opts[0].startswith("--") else ["-"])
            ]

    walk(typer.main.get_command(app), ())
    return found


COMMANDS = commands_with_a_configuration()


def test_every_error_of_weir_has_its_status() -> None:
    for kind in all_errors():
        expected = 2 if issubclass(kind, ConfigurationError | InvalidEventError) else 1
        assert status_of(kind.__new__(kind)) == (3 if issubclass(kind, UnansweredError) else expected), kind


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, KeyError, OSError])
def test_a_fault_in_the_program_has_none(kind: type[Exception]) -> None:
    assert status_of(kind("scripted")) is None
    with pytest.raises(kind), ending_in_one_line("weir test"):
        raise kind("scripted")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ConfigurationError("a: expected b"), 2, "weir test: a: expected b\n"),
        (RecordError("f:1: no JSON"), 2, "weir test: f:1: no JSON\n"),
        (DependencyError("gone"), 1, "weir test: gone\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_of_the_table_is_one_line_and_its_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ending, ending_in_one_line("weir test"):
        raise error
    assert ending.value.exit_code == status
    assert capsys.readouterr().err == line


def test_commands_with_a_configuration_are_found() -> None:
    assert {("serve",), ("moderate",), ("data", "generate"), ("eval", "detector")} < COMMANDS.keys()


@pytest.mark.parametrize("command", sorted(COMMANDS), ids=" ".join)
def test_a_configuration_that_is_wrong_is_one_line_and_status_2(command: tuple[str, ...], tmp_path: Path) -> None:
    wrong = tmp_path / "weir.yaml"
    wrong.write_text("no_such_section: 1\n", encoding="utf-8")
    finished = weir(*command, *COMMANDS[command], "--config", wrong)
    assert (finished.status, finished.stdout) == (2, b"")
    assert re.match(r"weir[ a-z-]*: .*no_such_section", finished.error_line())
