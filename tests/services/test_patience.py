"""Trying again, and giving up."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from protector_models.moderation.errors import (
    BrokerUnavailableError,
    DependencyError,
    IncompleteError,
    ModelUnavailableError,
)
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


class Clockwork:
    """A call that takes its time, and comes further or not, and fails or not, as it is told."""

    def __init__(self, script: Sequence[tuple[float, bool]]) -> None:
        """Make it; for each try that fails how long it takes, and whether it comes further."""
        self._script = script
        self.now_s = 0.0
        self.tries = 0
        self.come = 0

    async def call(self) -> str:
        self.tries += 1
        if self.tries > len(self._script):
            return "done"
        takes_s, comes_further = self._script[self.tries - 1]
        self.now_s += takes_s
        self.come += comes_further
        raise ModelUnavailableError(f"try {self.tries}")

    async def keep_trying(self, patience: Patience) -> str:
        return await patience.keep_trying(
            self.call, after=DependencyError, progress=lambda: self.come, clock=lambda: self.now_s
        )


TEN_SECONDS = Patience(initial_s=0, max_s=0, give_up_s=10.0)


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=12))
async def test_patience_ends_with_the_first_outage_that_is_too_long_however_long_the_work_takes(
    script: list[tuple[float, bool]],
) -> None:
    failed_at_s = list(accumulate(takes_s for takes_s, _ in script))
    begun_with = accumulate((number if further else 0 for number, (_, further) in enumerate(script)), max)
    lasted_s = [at_s - failed_at_s[first] for at_s, first in zip(failed_at_s, begun_with, strict=True)]
    too_long = next((number for number, seconds in enumerate(lasted_s, start=1) if seconds >= 10), None)
    work = Clockwork(script)
    if too_long is None:
        assert await work.keep_trying(TEN_SECONDS) == "done"
    else:
        with pytest.raises(ModelUnavailableError, match=f"^try {too_long}$"):
            await work.keep_trying(TEN_SECONDS)


async def test_one_failure_after_long_work_is_no_end() -> None:
    assert await Clockwork([(1_000.0, False)]).keep_trying(TEN_SECONDS) == "done"


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: IncompleteError(error, [None, 1])])
async def test_patience_around_patience_waits_no_longer_than_one(
    wrap: Callable[[ModelUnavailableError], ModelUnavailableError],
) -> None:
    work = Clockwork([(4.0, False)] * 100)

    async def wait_within() -> str:
        try:
            return await work.keep_trying(TEN_SECONDS)
        except ModelUnavailableError as error:
            raise wrap(error) from error

    with pytest.raises(ModelUnavailableError, match="try 4"):
        await TEN_SECONDS.keep_trying(wait_within, after=DependencyError, clock=lambda: work.now_s)


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
