"""Trying again, and giving up."""

from collections.abc import Awaitable

import pytest
import structlog
from structlog.testing import capture_logs

from protector_models.moderation.errors import BrokerUnavailableError, DependencyError, ModelUnavailableError
from protector_models.moderation.fakes import RecordedMetrics
from services.patience import FailedTry, Outage, Patience, report_batch_retries

QUICK = Patience(initial_s=0.001, max_s=0.002, max_tries=4)


class Flaky:
    """Fails so often, then succeeds."""

    def __init__(self, failures: int, error: type[Exception] = ModelUnavailableError) -> None:
        self.failures = failures
        self.tries = 0
        self._error = error

    async def call(self) -> str:
        self.tries += 1
        if self.tries <= self.failures:
            raise self._error(f"try {self.tries}")
        return "done"


async def test_a_call_is_made_until_it_succeeds_and_each_failure_is_told() -> None:
    flaky, told = Flaky(3), list[FailedTry]()

    def make_call() -> Awaitable[str]:
        return flaky.call()

    assert await QUICK.keep_trying(make_call, after=DependencyError, report=told.append) == "done"
    assert [(failed.number, str(failed.error)) for failed in told] == [(1, "try 1"), (2, "try 2"), (3, "try 3")]


@pytest.mark.parametrize("patience", [QUICK, Patience(initial_s=0.001, max_s=0.002, give_up_s=0.02)])
async def test_the_last_error_is_raised_when_patience_ends(patience: Patience) -> None:
    flaky = Flaky(1_000_000)
    with pytest.raises(ModelUnavailableError) as caught:
        await patience.keep_trying(flaky.call, after=DependencyError)
    assert str(caught.value) == f"try {flaky.tries}"
    assert flaky.tries > 1


async def test_an_error_of_another_kind_ends_it_at_once() -> None:
    flaky = Flaky(1, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        await QUICK.keep_trying(flaky.call, after=DependencyError)
    assert flaky.tries == 1


def test_a_batch_that_is_tried_again_is_logged_and_counted() -> None:
    metrics = RecordedMetrics()
    with capture_logs() as logs:
        report = report_batch_retries(structlog.get_logger("patience"), "once more", metrics)
        report(FailedTry(number=2, error=ModelUnavailableError("late")))
    assert logs == [
        {"event": "once more", "log_level": "warning", "attempt": 2, "error": "ModelUnavailableError", "reason": "late"}
    ]
    assert metrics.total("weir_batch_retries_total") == 1


async def test_an_outage_is_sat_out_for_as_long_as_patience_lasts_and_a_success_ends_it() -> None:
    times, told = iter((0.0, 9.0, 11.0, 20.0, 21.0)), list[FailedTry]()
    patience = Patience(initial_s=0.0, max_s=0.0, give_up_s=10.0)
    outage = Outage(patience, clock=lambda: next(times), report=told.append)
    error = BrokerUnavailableError("away")
    await outage.sit_out(error)
    await outage.sit_out(error)
    outage.end()
    await outage.sit_out(error)
    await outage.sit_out(error)
    with pytest.raises(BrokerUnavailableError):
        await outage.sit_out(error)
    assert [failed.number for failed in told] == [1, 2, 1, 2]
