"""Asking a busy server again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.endpoints.busy_servers import asking_again, read_retry_after

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        ("7", 7.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 0.0),
        ("Sat, 31 Jan 2026 12:00:30 -0000", 30.0),
        ("Sat, 31 Jan 2026 12:00:30 +" + "9" * 30, None),
        ("Sat, 31 Jan " + "9" * 30 + " 12:00:30 GMT", None),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, expected_s: float | None) -> None:
    assert read_retry_after(value, NOW) == expected_s


FIGURES = st.text("0123456789", min_size=1, max_size=40)
ZONES = st.just("GMT") | FIGURES.map("+{}".format)
DAYS, MONTHS = st.sampled_from(["Sat", "no"]), st.sampled_from(["Jan", "no"])
ALMOST_DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format, DAYS, FIGURES, MONTHS, FIGURES, FIGURES, FIGURES, FIGURES, ZONES
)


@given(value=st.one_of(st.text(), FIGURES, ALMOST_DATES))
def test_whatever_a_server_writes_is_a_wait_or_none(value: str) -> None:
    asked_s = read_retry_after(value, NOW)
    assert asked_s is None or asked_s >= 0


class _BusyError(Exception):
    def __init__(self, retry_after_s: float | None) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s


@pytest.mark.parametrize(("asked_s", "expected_tries"), [(0.0, 3), (None, 3), (3600.0, 1)])
async def test_a_request_is_made_as_often_as_allowed_and_no_wait_outlasts_its_time(
    asked_s: float | None, expected_tries: int
) -> None:
    num_tries = 0

    async def ask() -> None:
        nonlocal num_tries
        num_tries += 1
        raise _BusyError(asked_s)

    with pytest.raises(_BusyError):
        await asking_again(_BusyError, max_attempts=3, initial_s=0.001, max_s=0.002, within_s=60)(ask)
    assert num_tries == expected_tries


async def test_another_error_ends_it() -> None:
    async def ask() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asking_again(_BusyError, max_attempts=3, initial_s=0.001, max_s=0.002)(ask)
