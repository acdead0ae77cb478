"""`weir serve` drains and ends with 0 whenever it is told to, also while Ray, models and consumers are starting."""

from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from pipelines.streaming.kafka.broker_administration import ensure_topics
from pipelines.streaming.settings import KafkaSettings
from tests.end_to_end.processes import ServeProcess, wait_until, write_config

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    "is_reached",
    [
        lambda process: "weir is starting" in process.log(),
        lambda process: any(child.name() == "gcs_server" for child in process.children()),
        lambda process: any("ServeController" in child.name() for child in process.children()),
    ],
    ids=["before Ray", "while Ray starts", "while the application starts"],
)
def test_a_signal_while_it_starts_drains_and_leaves_nothing_running(
    is_reached: object, tmp_path: Path, apache_kafka: KafkaSettings
) -> None:
    assert callable(is_reached)
    name = f"early-{uuid4().hex[:8]}"
    ensure_topics(apache_kafka, {f"{name}.{suffix}": 1 for suffix in ("in", "out", "dead")})
    config = write_config(tmp_path, apache_kafka, "redis://127.0.0.1:1", name=name)
    with ServeProcess(config, tmp_path / "log") as process:
        wait_until(lambda: is_reached(process), process)
        children = process.children()
        assert process.terminate() == 0, process.log()[-4_000:]
        _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert "draining" in process.log()
    assert "Traceback" not in process.log()
