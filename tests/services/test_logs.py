"""What is logged, and what is not."""

import logging
from collections.abc import Iterator

import pytest

from services.configuration import LogSettings
from services.logs import configure_logs
from tests.logs import logs_of_its_own

LIBRARIES = ("httpx", "httpcore", "kafka")


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in LIBRARIES}
    with logs_of_its_own():
        yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("level", ["debug", "info"])
def test_the_addresses_of_requests_are_not_logged(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings.model_validate({"level": level}))
    for name in ("httpx", "httpcore", "httpcore.http11"):
        logging.getLogger(name).info("HTTP Request: POST http://host/v1?key=secret")
    logging.getLogger("httpx").warning("told")
    shown = capsys.readouterr().err
    assert "secret" not in shown
    assert "told" in shown


def test_libraries_are_no_louder_than_what_is_configured() -> None:
    configure_logs(LogSettings(level="error"))
    assert logging.getLogger("httpx").level == logging.ERROR
