"""`weir serve` as a process of its own, which a test may kill with everything it started."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import yaml

from pipelines.streaming.settings import KafkaSettings


def write_config(
    folder: Path, kafka: KafkaSettings, redis_url: str, *, name: str, deployments: Mapping[str, object] | None = None
) -> Path:
    """Write a configuration with topics and a group of its own, two consumers, and settings of other deployments."""
    config = {
        "kafka": {"bootstrap_servers": list(kafka.bootstrap_servers)},
        "redis": {"url": redis_url},
        "stream": {
            "source_topic": f"{name}.in",
            "sink_topic": f"{name}.out",
            "group": name,
            "dead_letters": {"topic": f"{name}.dead"},
            "in_flight_max_records": 64,
            "batch_max_records": 16,
        },
        "serve": {"stream": {"min_replicas": 2, "max_replicas": 2}, **(deployments or {})},
    }
    path = folder / "weir.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


WEIR_SERVE = ("-m", "pipelines", "serve", "--config")


class ServeProcess:
    """A running `weir serve`. A context manager: when it is left, whatever still runs is killed."""

    def __init__(self, config: Path, log: Path, *, program: Sequence[str] = WEIR_SERVE) -> None:
        """Start it.

        Args:
            config: is given to it at the end of its command line.
            log: what it says is added to this file.
            program: what Python runs.
        """
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *program, str(config)],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_tree()

    def kill_tree(self) -> None:
        """Kill the process and all it has started, as a machine that loses its power does."""
        if not self.is_running():
            return
        parent = psutil.Process(self._process.pid)
        tree = [*parent.children(recursive=True), parent]
        for process in tree:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait(60)
        psutil.wait_procs(tree, timeout=60)

    def terminate(self) -> int:
        """Ask it to drain; return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(300)

    def children(self) -> list[psutil.Process]:
        """Return what it has started and what that has."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


def wait_until(is_reached: Callable[[], bool], process: ServeProcess, *, timeout_s: float = 240.0) -> None:
    """Wait until something holds, while the process runs."""
    deadline = time.monotonic() + timeout_s
    while not is_reached():
        assert process.is_running(), process.log()[-4_000:]
        assert time.monotonic() < deadline, process.log()[-4_000:]
        time.sleep(0.2)
