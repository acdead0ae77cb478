"""The code that docs/http.md shows, as it shows it."""

import re

import pytest

from tests.pages import PROJECT
from tests.services.http.front import Front
from tests.services.http.served import serving

PAGE = (PROJECT / "docs" / "http.md").read_text()
ADDRESS = "http://127.0.0.1:8080"


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"^```python\n(from services\.client.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert ADDRESS in code
    with serving(Front().app) as address:
        exec(code.replace(ADDRESS, address), {})
    assert capsys.readouterr().out.count("False allow None\n") == 2
    exec(code.replace(ADDRESS, address).replace("timeout_s=10", "timeout_s=0.2"), {})
    assert capsys.readouterr().out.startswith("nothing is known of them no answer")
