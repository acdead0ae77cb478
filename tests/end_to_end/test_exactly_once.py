"""Every event comes out once, whatever is killed; read and written by another client than Weir's own."""

from collections import Counter
from pathlib import Path

import pytest

from pipelines.streaming.settings import KafkaSettings
from tests.end_to_end.foreign_client import VerdictReader, count_committed, make_topics, send
from tests.end_to_end.processes import ServeProcess, wait_until, write_config

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.ray, pytest.mark.timeout(600)]

EVENTS = 3_000
CONVERSATIONS = 37


def _event(number: int) -> dict[str, object]:
    return {
        "schema_version": 1,
        "event_id": f"e{number}",
        "conversation_id": f"c{number % CONVERSATIONS}",
        "occurred_at": "2026-01-31T12:00:00Z",
        "messages": [{"role": "user", "content": f"What is {number % 211} and {number % 17}?"}],
        "response": f"It is {number % 211 + number % 17}.",
    }


def test_every_event_comes_out_exactly_once_though_the_process_tree_is_killed_twice(
    apache_kafka: KafkaSettings, redis_url: str, tmp_path: Path
) -> None:
    topics = make_topics(apache_kafka, "once")
    config = write_config(tmp_path, apache_kafka, redis_url, name=topics)
    send(apache_kafka, f"{topics}.in", map(_event, range(EVENTS)))
    with VerdictReader(apache_kafka, f"{topics}.out") as reader:
        for kill_after in (EVENTS // 4, EVENTS // 2):
            with ServeProcess(config, tmp_path / "serve.log") as process:
                wait_until(lambda: reader.read() >= kill_after, process)  # noqa: B023  (called before the loop goes on)
            # Leaving the context kills the process and all that it has started.
            assert count_committed(apache_kafka, topics) < EVENTS, (
                "it was done before it was killed: nothing was tested"
            )
        with ServeProcess(config, tmp_path / "serve.log") as process:
            wait_until(lambda: reader.read() >= EVENTS, process)
            assert process.terminate() == 0
        reader.read()

    assert reader.times_seen() == Counter(f"e{number}" for number in range(EVENTS))
    for events in reader.by_conversation().values():
        assert events == sorted(events, key=lambda event_id: int(event_id[1:]))
