"""The application on Ray Serve, as a benchmark uses it: it is shown records, and says when they were published."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.application.deployment import Broadcasts, ask_consumers, run, stop
from pipelines.bench.hidden_backlog import hidden_backlog
from pipelines.bench.stream_events import BenchmarkError
from pipelines.settings import WeirSettings
from pipelines.streaming.broker import OutgoingRecord
from services.deployments.application import start_serve

_POLL_S = 0.05
_ANSWER_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Elapsed:
    """Seconds from the moment in which records could be seen."""

    first_s: float
    """Until one was published."""
    last_s: float
    """Until all were."""
    per_s: float
    """Records per second until all were."""


class ServedStream:
    """The consumers of an application that runs."""

    def __init__(self, settings: WeirSettings, consumers: Broadcasts, *, timeout_s: float) -> None:
        """Take consumers.

        Args:
            settings: of the application.
            consumers: are asked what they have published, all of them.
            timeout_s: how long anything is waited for.
        """
        self._settings = settings
        self._consumers = consumers
        self._timeout_s = timeout_s

    def wait_until_connected(self) -> None:
        """Wait until every consumer has a broker and its models.

        Raises:
            BenchmarkError: one has stopped, does not answer, or is not there in time.
        """
        self._wait_until(lambda statuses: bool(statuses) and all(status["connected"] for status in statuses))

    def show(self, records: Iterable[OutgoingRecord]) -> Elapsed:
        """Show the stream records all at once, and wait until they are published.

        Raises:
            BenchmarkError: as above.
        """
        shown = list(records)
        before = _published(self._statuses())
        with hidden_backlog(self._settings.kafka, self._settings.stream, shown) as show:
            started = time.perf_counter()
            show()
            self._wait_until(lambda statuses: _published(statuses) > before)
            first_s = time.perf_counter() - started
            self._wait_until(lambda statuses: _published(statuses) >= before + len(shown))
            last_s = time.perf_counter() - started
        return Elapsed(first_s=first_s, last_s=last_s, per_s=len(shown) / last_s)

    def _wait_until(self, is_reached: Callable[[list[dict[str, Any]]], bool]) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not is_reached(statuses := self._statuses()):
            if time.monotonic() > deadline:
                raise BenchmarkError(f"not done within {self._timeout_s:.0f} s: {statuses}")
            time.sleep(_POLL_S)

    def _statuses(self) -> list[dict[str, Any]]:
        found = ask_consumers(self._consumers, timeout_s=_ANSWER_S)
        if found.silent:
            raise BenchmarkError(f"a consumer does not answer: {found.silent[0]}")
        if stopped := [status["stopped"] for status in found.statuses if status["stopped"]]:
            raise BenchmarkError(f"a consumer stopped: {stopped[0]}")
        return found.statuses


@contextmanager
def served_stream(settings: WeirSettings, *, timeout_s: float) -> Iterator[ServedStream]:
    """Start Ray and the application, yield it once its consumers are connected, and stop both.

    Raises:
        BenchmarkError: a consumer stopped, or is not connected in time.
        ConfigurationError: something could not be started.
    """
    try:
        start_serve(settings.serve)
        stream = ServedStream(settings, run(settings), timeout_s=timeout_s)
        stream.wait_until_connected()
        yield stream
    finally:
        stop()


def _published(statuses: Iterable[dict[str, Any]]) -> int:
    """Return how many records they have published; before a consumer is connected it has no counts."""
    return sum(int(status.get("records_published", 0)) for status in statuses)
