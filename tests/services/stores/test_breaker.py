"""The circuit breaker."""

from services.stores.breaker import CircuitBreaker


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def opened(clock: Clock) -> CircuitBreaker:
    """Build a breaker that two failures have opened, for 5 s."""
    breaker = CircuitBreaker(max_failures=2, open_s=5.0, clock=clock)
    breaker.failed()
    breaker.failed()
    return breaker


def test_calls_are_allowed_until_enough_fail_in_a_row() -> None:
    breaker = CircuitBreaker(max_failures=2, open_s=5.0, clock=Clock())
    breaker.failed()
    breaker.succeeded()
    breaker.failed()

    assert breaker.allows()


def test_no_call_is_allowed_while_it_is_open() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += 4.9

    assert not breaker.allows()


def test_after_its_time_one_call_is_allowed_and_no_second() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += 5.0

    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_a_success_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += 5.0
    breaker.allows()
    breaker.succeeded()

    assert all(breaker.allows() for _ in range(3))


def test_a_failure_after_its_time_opens_it_anew() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += 5.0
    breaker.allows()
    breaker.failed()
    clock.now_s += 4.9

    assert not breaker.allows()


def test_a_call_that_never_reports_does_not_keep_it_open_for_ever() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += 5.0
    breaker.allows()
    clock.now_s += 5.0

    assert breaker.allows()
