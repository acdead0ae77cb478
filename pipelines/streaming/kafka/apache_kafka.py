"""Starts a real Apache Kafka on this machine, for tests and benchmarks: KRaft mode, one node, loopback only."""

import os
import shutil
import signal
import string
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from pipelines.streaming.kafka.broker_administration import is_answering
from pipelines.streaming.settings import KafkaSettings
from protector_models.moderation.errors import ConfigurationError
from services.free_ports import free_ports

_PROJECT = Path(__file__).resolve().parents[3]
_POM = _PROJECT / "infra" / "kafka" / "pom.xml"
_TEMPLATE = _PROJECT / "infra" / "kafka" / "server.properties"
CACHE = _PROJECT / ".cache" / "kafka"
"""Where the jars lie once Maven has fetched them."""
_HOW_TO_GET_ONE = (
    "Install a Java runtime (17 or later) and Maven, so that Apache Kafka can be started from its Maven artifacts, "
    "or point WEIR_TEST_KAFKA (tests) or --kafka (commands) to the HOST:PORT of a broker that runs already."
)
_HEAP = "-Xmx512m"
_START_TIMEOUT_S = 120.0
_FETCH_TIMEOUT_S = 900.0
_COMMAND_TIMEOUT_S = 120.0


def fetch_jars(directory: Path = CACHE) -> Path:
    """Return the directory of Kafka's jars, fetching them with Maven when they are not there yet.

    Raises:
        ConfigurationError: Maven is missing, or it could not fetch them.
    """
    jars = directory / "libs"
    if jars.is_dir():
        return jars
    maven = _find_program("mvn")
    if not _POM.is_file():
        raise ConfigurationError(f"{_POM} is missing: Apache Kafka can only be fetched from a checkout of the project")
    directory.mkdir(parents=True, exist_ok=True)
    # Into a directory of its own first: a fetch that breaks off, or a second one beside it, must leave nothing half.
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        partial = Path(scratch) / "libs"
        _run(
            [maven, "-B", "-q", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={partial}"],
            timeout_s=_FETCH_TIMEOUT_S,
        )
        try:
            partial.rename(jars)
        except OSError:
            if not jars.is_dir():
                raise
    return jars


class ApacheKafka:
    """A broker of its own, in a temporary directory that goes when the context is left.

    `stop`, `kill` and `restart` keep its data and its address, so that clients meet the same broker again.
    """

    def __init__(self, *, start_timeout_s: float = _START_TIMEOUT_S) -> None:
        self._start_timeout_s = start_timeout_s
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._java = ""
        self._jars = CACHE
        self._port = 0

    @property
    def settings(self) -> KafkaSettings:
        """How to reach it."""
        return KafkaSettings(bootstrap_servers=(f"127.0.0.1:{self._port}",))

    @property
    def log_path(self) -> Path:
        """What the broker wrote, as long as the context lasts."""
        return self._directory / "kafka.log"

    @property
    def _directory(self) -> Path:
        if self._scratch is None:
            raise RuntimeError("the context of this ApacheKafka is not entered")
        return Path(self._scratch.name)

    def __enter__(self) -> Self:
        """Start the broker.

        Raises:
            ConfigurationError: Java or Maven is missing, or the broker did not start; the message says what to do.
        """
        self._java = _find_program("java")
        self._jars = fetch_jars()
        self._scratch = tempfile.TemporaryDirectory(prefix="weir-kafka-", ignore_cleanup_errors=True)
        try:
            self._format()
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def start(self) -> None:
        """Start the broker if it does not run, and wait until it answers.

        Raises:
            ConfigurationError: it did not answer in time, or it ended.
        """
        if self._process is not None:
            return
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java_command(), "kafka.Kafka", str(self._directory / "server.properties")],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self._directory,
                # A Ctrl-C at the terminal is for the command; the command then ends the broker.
                start_new_session=True,
            )
        deadline = time.monotonic() + self._start_timeout_s
        while not is_answering(self.settings, timeout_s=2.0):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ConfigurationError(f"Apache Kafka did not start; see {self.log_path}:\n{self._log_tail()}")

    def stop(self, *, timeout_s: float = 60.0) -> None:
        """Shut the broker down in order; `start` brings it back with its data. May be called twice."""
        self._end(signal.SIGTERM, timeout_s=timeout_s)

    def kill(self) -> None:
        """End the broker as a power cut would. May be called twice."""
        self._end(signal.SIGKILL, timeout_s=60.0)

    def restart(self) -> None:
        """Stop and start it, with the same data and address."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it keep its connections and answer nothing, as behind a broken network."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End `freeze`."""
        self._signal(signal.SIGCONT)

    def _format(self) -> None:
        self._port, controller_port = free_ports(2)
        properties = self._directory / "server.properties"
        template = string.Template(_TEMPLATE.read_text(encoding="utf-8"))
        properties.write_text(
            template.substitute(
                port=self._port, controller_port=controller_port, data_directory=self._directory / "data"
            ),
            encoding="utf-8",
        )
        cluster = _run([*self._java_command(), "kafka.tools.StorageTool", "random-uuid"], timeout_s=_COMMAND_TIMEOUT_S)
        format_storage = ["kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(properties)]
        _run([*self._java_command(), *format_storage], timeout_s=_COMMAND_TIMEOUT_S)

    def _java_command(self) -> list[str]:
        log_level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [self._java, _HEAP, log_level, "-cp", f"{self._jars}{os.sep}*"]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals, *, timeout_s: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _log_tail(self) -> str:
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])

    def _close(self) -> None:
        # Its data goes with it: nothing is gained by an orderly end.
        self.kill()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None


def _find_program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ConfigurationError(f"{name} is not on the PATH. {_HOW_TO_GET_ONE}")
    return path


def _run(command: list[str], *, timeout_s: float) -> str:
    """Run a command to its end and return its output.

    Raises:
        ConfigurationError: it failed; the message has its output.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"{command[0]} did not end within {timeout_s:.0f} s. {_HOW_TO_GET_ONE}") from error
    if done.returncode != 0:
        output = (done.stdout + done.stderr).strip()[-2_000:]
        raise ConfigurationError(f"{command[0]} ended with status {done.returncode}: {output}\n{_HOW_TO_GET_ONE}")
    return done.stdout.strip()
