"""Which ingress Ray Serve is started with, and that a front refuses another one than its own."""

import os

import pytest

from protector_models.moderation.errors import ConfigurationError
from protector_models.policies.policy_file import load_policy
from services.configuration import ModerationSettings
from services.deployments import ingress
from services.deployments.http_front import HttpFront
from services.deployments.ingress import HAPROXY_VARIABLE, choose_ingress
from services.http.settings import ChatSettings, HaproxySettings, HttpSettings
from tests.services.http.keys import KEYS

BEHIND_HAPROXY = HttpSettings(ingress="haproxy")
HARD_STOP = "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"


@pytest.fixture(autouse=True)
def _environment_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with none of Ray Serve's variables, and leave as many as there were."""
    monkeypatch.setattr(os, "environ", {name: os.environ[name] for name in os.environ if "RAY_SERVE" not in name})


def build_front(http: HttpSettings) -> None:
    HttpFront(ModerationSettings(), http, load_policy(None), handles={})


def test_with_the_python_proxy_ray_is_told_nothing() -> None:
    choose_ingress(HttpSettings())
    assert not [name for name in os.environ if "RAY_SERVE" in name]


def test_haproxy_is_chosen_with_its_ports() -> None:
    choose_ingress(HttpSettings(ingress="haproxy", haproxy=HaproxySettings(stats_port=1_404, metrics_port=1_101)))
    assert os.environ[HAPROXY_VARIABLE] == "1"
    assert os.environ["RAY_SERVE_HAPROXY_STATS_PORT"] == "1404"
    assert os.environ["RAY_SERVE_HAPROXY_METRICS_PORT"] == "1101"
    assert float(os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"]) == 60


@pytest.mark.parametrize("deadline_s", [1.0, 60.0, 599.5, 3_600.0])
@pytest.mark.parametrize("chat_deadline_s", [1.0, 899.5])
def test_no_haproxy_that_was_replaced_ends_before_a_request_may(deadline_s: float, chat_deadline_s: float) -> None:
    chat = ChatSettings(deadline_s=chat_deadline_s)
    choose_ingress(HttpSettings(ingress="haproxy", deadline_s=deadline_s, chat=chat))
    assert float(os.environ[HARD_STOP]) > max(deadline_s, chat_deadline_s)


def test_what_the_operator_has_set_stays() -> None:
    os.environ |= {HAPROXY_VARIABLE: "1", HARD_STOP: "7"}
    choose_ingress(BEHIND_HAPROXY)
    assert os.environ[HARD_STOP] == "7"


@pytest.mark.parametrize(("written", "chosen"), [("1", HttpSettings()), ("0", BEHIND_HAPROXY), ("", BEHIND_HAPROXY)])
def test_an_environment_that_asks_for_the_other_ingress_is_refused(written: str, chosen: HttpSettings) -> None:
    os.environ[HAPROXY_VARIABLE] = written
    with pytest.raises(ConfigurationError, match=rf"http.ingress: expected .* got {chosen.ingress!r}"):
        choose_ingress(chosen)


def test_a_front_refuses_a_ray_that_was_started_with_the_other_ingress() -> None:
    with pytest.raises(ConfigurationError, match=r"http.ingress: expected 'proxy'.*got 'haproxy'"):
        build_front(BEHIND_HAPROXY)
    os.environ[HAPROXY_VARIABLE] = "1"
    with pytest.raises(ConfigurationError, match=r"http.ingress: expected 'haproxy'.*got 'proxy'"):
        build_front(HttpSettings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "203.0.113.7", "somewhere.example"])
def test_without_keys_a_front_refuses_a_haproxy_that_listens_beyond_this_machine(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    os.environ[HAPROXY_VARIABLE] = "1"
    monkeypatch.setattr(ingress, "_find_host", lambda: host)
    with pytest.raises(ConfigurationError, match=r"http.keys: expected keys"):
        build_front(BEHIND_HAPROXY)
    build_front(HttpSettings(ingress="haproxy", keys=KEYS))


def test_without_keys_a_front_takes_a_haproxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ[HAPROXY_VARIABLE] = "1"
    monkeypatch.setattr(ingress, "_find_host", lambda: "127.0.0.1")
    build_front(BEHIND_HAPROXY)
