"""The calls that docs/http.md shows, as it shows them; and every code that it should name."""

import re
import shlex

import httpx
import pytest

from services.http.refusals import STATUSES
from tests.pages import PROJECT
from tests.services.http.front import Front

PAGE = (PROJECT / "docs" / "http.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
CALLS = re.findall(r"^```sh\n(curl .*?)^```", PAGE, re.MULTILINE | re.DOTALL)


async def run_curl(front: Front, command: str) -> httpx.Response:
    """Make a call as curl does."""
    url, headers, body = "", {}, b""
    words = iter(shlex.split(command.replace("\\\n", " "))[1:])
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words).encode()
        elif word != "-N":
            url = word
    assert url.startswith(ADDRESS)
    return await front.post(url.removeprefix(ADDRESS), body, headers=headers)


@pytest.mark.parametrize("command", CALLS, ids=lambda command: command.split()[1])
async def test_every_call_of_the_page_is_answered(command: str) -> None:
    answer = await run_curl(Front(), command)
    assert answer.status_code == 200, answer.text


def test_the_page_has_a_call_for_each_route_that_takes_a_body() -> None:
    assert len(CALLS) == 4


def test_the_page_names_every_code_with_its_status() -> None:
    rows = {code: row for row in PAGE.splitlines() if row.startswith("| ") for code in re.findall(r"`(\w+)`", row)}
    for code, status in STATUSES.items():
        assert str(int(status)) in rows[code].split("|")[1], code
