"""`weir serve` around its start, without Ray; `test_early_signals` has the whole of one that takes long."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipelines.commands import serve as command
from pipelines.settings import WeirSettings
from protector_models.moderation.errors import ConfigurationError
from services.free_ports import free_ports
from services.http.settings import HttpSettings
from tests.certificates import write_certificate
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
    command.serve(config=None, create_topics=None, http_only=False, status_interval_s=30)
    sender.join()
    assert steps == ["start", "started", "stop"]


class _FrontStarted(Exception):  # noqa: N818  (no error: where these tests end)
    """Ray would start now."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[WeirSettings]:
    """Gather the settings with which Ray would be started, instead of starting it; no broker is there."""
    found: list[WeirSettings] = []

    def start_ray(settings: WeirSettings) -> None:
        found.append(settings)
        raise _FrontStarted

    def ask_broker(*_: object) -> None:
        raise AssertionError("the broker was asked")

    monkeypatch.setattr(command, "_prepare_topics", ask_broker)
    monkeypatch.setattr(command, "_start_ray", start_ray)
    monkeypatch.setattr(command, "_stop", lambda: None)
    return found


def serve_http(config: Path | None = None, create_topics: int | None = None) -> None:
    command.serve(config=config, create_topics=create_topics, http_only=True, status_interval_s=30)


def test_http_alone_asks_no_broker_and_listens_on_this_machine(
    started: list[WeirSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_prepare_port", lambda _: None)
    with pytest.raises(_FrontStarted):
        serve_http()
    assert started[0].http == HttpSettings(host="127.0.0.1", port=8080)


def test_http_alone_is_served_as_it_is_configured(started: list[WeirSettings], tmp_path: Path) -> None:
    (port,) = free_ports(1)
    (tmp_path / "weir.yaml").write_text(f"http: {{port: {port}, max_items: 3}}")
    with pytest.raises(_FrontStarted):
        serve_http(tmp_path / "weir.yaml")
    assert started[0].http == HttpSettings(port=port, max_items=3)


def test_a_port_that_is_taken_is_named_before_anything_is_started(started: list[WeirSettings], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "weir.yaml").write_text(f"http: {{port: {taken.getsockname()[1]}}}")
        with pytest.raises(ConfigurationError, match=f"port {taken.getsockname()[1]}"):
            serve_http(tmp_path / "weir.yaml")
    assert started == []


def test_a_certificate_that_cannot_be_used_is_told_before_anything_is_started(
    started: list[WeirSettings], tmp_path: Path
) -> None:
    tls = "{certificate_file: certificate.pem, key_file: key.pem, key_password: secret}"
    (tmp_path / "weir.yaml").write_text(f"http: {{port: {free_ports(1)[0]}, tls: {tls}}}")
    write_certificate(tmp_path, password="another")
    with pytest.raises(ConfigurationError, match=r"key\.pem: expected a private key") as caught:
        serve_http(tmp_path / "weir.yaml")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["stats_port", "metrics_port"])
def test_a_port_of_haproxy_that_is_taken_is_named_before_anything_is_started(
    started: list[WeirSettings], tmp_path: Path, name: str
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port, stats_port, metrics_port = free_ports(3)
        haproxy = {"stats_port": stats_port, "metrics_port": metrics_port, name: taken.getsockname()[1]}
        config = {"http": {"port": port, "ingress": "haproxy", "haproxy": haproxy}}
        (tmp_path / "weir.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(ConfigurationError, match=f"http.haproxy: expected to listen at .* port {haproxy[name]}"):
            serve_http(tmp_path / "weir.yaml")
    assert started == []


def test_topics_are_not_made_for_http_alone(started: list[WeirSettings]) -> None:
    with pytest.raises(ConfigurationError, match="--create-topics"):
        serve_http(create_topics=3)
    assert started == []
