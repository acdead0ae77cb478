"""`weir serve` around a start that takes long, without Ray; `test_early_signals` has the whole of it."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from pipelines.commands import serve as command
from pipelines.settings import WeirSettings
from tests.logs import logs_of_its_own


@pytest.fixture(autouse=True)
def _signals_and_logs_of_its_own() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with logs_of_its_own():
        yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("fails", [False, True], ids=["a start that succeeds", "a start that fails"])
def test_a_signal_while_ray_starts_is_heeded_once_it_has_started_and_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    steps: list[str] = []
    begun = threading.Event()

    def start_ray(_settings: WeirSettings) -> None:
        steps.append("start")
        # As Ray does on the main thread, where it would take the signal's place.
        assert threading.current_thread() is not threading.main_thread()
        begun.set()
        signalled.wait(30)
        steps.append("started")
        if fails:
            raise ConnectionError("Ray did not come up")

    def send_signals() -> None:
        begun.wait(30)
        os.kill(os.getpid(), signal.SIGTERM)
        signalled.set()

    signalled = threading.Event()
    monkeypatch.setattr(command, "_prepare_topics", lambda *_: None)
    monkeypatch.setattr(command, "_start_ray", start_ray)
    monkeypatch.setattr(command, "_stop", lambda: steps.append("stop"))
    sender = threading.Thread(target=send_signals)
    sender.start()
    command.serve(config=None, create_topics=None, status_interval_s=30)
    sender.join()
    assert steps == ["start", "started", "stop"]
