"""What pages name is there: files, headings, modules, commands, settings and counters."""

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from pipelines.__main__ import app
from pipelines.settings import WeirSettings
from protector_models.moderation.metric_names import METRICS
from tests.pages import PAGES, PROJECT, anchors, has_key, lines_of_code, links, read, spans

every_page = pytest.mark.parametrize("page", PAGES, ids=str)

_FILE = re.compile(r"`([\w./-]+\.(?:py|yaml|md|jsonl?|toml|txt|xml|safetensors|onnx)|[\w./-]+/)`")
_MODULE = re.compile(r"(?:protector_models|services|pipelines)(?:\.\w+)+")
_COMMAND = re.compile(r"weir((?: [a-z][a-z-]*)*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_KEY = re.compile(r"[a-z_]+(?:\.[a-z_]+)+")
_METRIC = re.compile(r"\bweir_\w+_total\b")

OF_USERS = {
    *("OUT.jsonl", "OUT.jsonl.weir.json", "weir.yaml", "policy.yaml", "description.yaml", "KIND.yaml"),
    # What commands write, and what a benchmark's folder holds.
    *("records.jsonl", "spending.json", "run.json", "processed_questions/SCENARIO.json"),
    # What the HTTP front answers.
    "/openapi.json",
}
"""Files that pages name and that are no part of the project."""

GONE_KEYS = {"detoxifier.kind"}
"""Settings that a page names to say that they are no more."""


@cache
def tracked_files() -> tuple[str, ...]:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    return tuple(f"/{name}" for name in listed.splitlines())


def find_file(name: str, page: Path, folder: Path) -> Path | None:
    """Return the file or folder that a page names, None where there is none.

    A file of code that is named without its folder is in `folder`, that of the one before it; other names may be the
    end of a path.
    """
    for place in (PROJECT, folder, PROJECT / page.parent):
        if (place / name).exists():
            return place / name
    if name.endswith(".py") and "/" not in name and name != "__init__.py":
        return None
    is_folder = name.endswith("/")
    ending = f"/{name}"
    return next(
        (PROJECT / file[1:] for file in tracked_files() if (ending in file if is_folder else file.endswith(ending))),
        None,
    )


@every_page
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    missing: list[str] = []
    # After a file that is named in full, others of its folder may stand by their names alone, in a row of a table.
    for row in re.split(r"\n\n|\|\n", read(page)):
        folder = PROJECT
        for name in _FILE.findall(row):
            found = find_file(name, page, folder)
            if found is not None:
                folder = found if found.is_dir() else found.parent
            elif name not in OF_USERS:
                missing.append(name)
    assert missing == []


def test_pages_name_many_files_and_commands() -> None:
    # What finds them has not gone blind.
    assert sum(len(_FILE.findall(read(page))) for page in PAGES) > 150
    assert sum(span.startswith("weir ") for page in PAGES for span in spans(read(page))) > 50


@every_page
def test_every_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    for link in links(read(page)):
        name, _, heading = link.partition("#")
        target = (PROJECT / page.parent / name).resolve() if name else PROJECT / page
        assert target.exists(), link
        assert not heading or heading in anchors(target.read_text()), link


@every_page
def test_every_module_that_a_page_names_is_there(page: Path) -> None:
    for module in (span for span in spans(read(page)) if _MODULE.fullmatch(span)):
        path = PROJECT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), module


@cache
def commands() -> dict[str, TyperCommand | TyperGroup]:
    """Return every command by its name, such as "weir eval detector"; a group has a name as well."""
    found: dict[str, TyperCommand | TyperGroup] = {}

    def walk(name: str, command: object) -> None:
        assert isinstance(command, TyperCommand | TyperGroup)
        found[name] = command
        if isinstance(command, TyperGroup):
            for below, inner in command.commands.items():
                walk(f"{name} {below}", inner)

    walk("weir", get_command(app))
    return found


@cache
def options_of(name: str) -> set[str]:
    """Return the options of a command and of those below it."""
    below = (command for each, command in commands().items() if f"{each} ".startswith(f"{name} "))
    parameters = [parameter for command in below for parameter in command.params]
    return {"--help", *(option for each in parameters for option in (*each.opts, *each.secondary_opts))}


@every_page
def test_every_command_and_option_that_a_page_names_is_there(page: Path) -> None:
    known = commands()
    for code in (*spans(read(page)), *lines_of_code(read(page))):
        if code.startswith("--"):
            assert _OPTION.findall(code)[0] in options_of("weir"), code
        elif named := _COMMAND.match(code):
            name = "weir"
            for word in named[1].split():
                if not isinstance(known[name], TyperGroup):
                    break
                name = f"{name} {word}"
                assert name in known, code
            # Behind a bar others are named, behind a hash it is told what they are for.
            assert set(_OPTION.findall(re.split(r"[|#]", code, maxsplit=1)[0])) <= options_of(name), code


@cache
def schema_of_settings() -> dict[str, Any]:
    return WeirSettings.model_json_schema()


@every_page
def test_every_setting_that_a_page_names_is_there(page: Path) -> None:
    schema = schema_of_settings()
    keys = {span for span in spans(read(page)) if _KEY.fullmatch(span)} - GONE_KEYS - OF_USERS
    named = {key for key in keys if key.split(".")[0] in schema["properties"] and find_file(key, page, PROJECT) is None}
    assert {key for key in named if not has_key(schema, key)} == set()


@every_page
def test_every_counter_that_a_page_names_is_there(page: Path) -> None:
    assert set(_METRIC.findall(read(page))) <= set(METRICS)
