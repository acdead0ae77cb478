"""The calls that the demonstration shows, by a shell and curl."""

import json
import subprocess

import pytest

from pipelines.demo.http_calls import make_calls
from protector_models.moderation.errors import DependencyError
from services.http.settings import HttpSettings
from tests.services.http.front import Front
from tests.services.http.served import serving


def test_what_is_shown_for_a_shell_is_what_was_called() -> None:
    with serving(Front().app) as address:
        made = make_calls(HttpSettings(port=int(address.rpartition(":")[2])))
        for call in made:
            finished = subprocess.run(["bash", "-c", call.command], capture_output=True, check=True, timeout=60)
            answer = json.loads(finished.stdout)
            assert call.status == 200
            assert isinstance(call.answer, dict)
            assert set(answer) == set(call.answer)
    assert len(made) == 2
    assert "don't know" in str(made[1].answer)


def test_a_front_that_is_never_ready_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.demo.http_calls._READY_WITHIN_S", 0.1)
    with serving(Front(is_ready=False).app) as address, pytest.raises(DependencyError, match="not ready"):
        make_calls(HttpSettings(port=int(address.rpartition(":")[2])))
