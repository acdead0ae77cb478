"""All kinds of trouble in one run, and nothing stops: kills, a text that kills the detector, an update, Redis away.

WEIR_TEST_TROUBLE_EVENTS sets how many events there are; with 20,000 Redis stays away for 20 s.
"""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from pipelines.streaming.kafka.broker_administration import read_topic
from pipelines.streaming.settings import KafkaSettings
from services.stores.local_redis import LocalRedis
from tests.end_to_end.foreign_client import VerdictReader, count_committed, make_topics, send
from tests.end_to_end.fragile_detector import DEADLY
from tests.end_to_end.fragile_serve import FIRST, SECOND, UPDATED
from tests.end_to_end.processes import ServeProcess, wait_until, write_config

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.ray, pytest.mark.timeout(1_200)]

EVENTS = int(os.environ.get("WEIR_TEST_TROUBLE_EVENTS", "2000"))
CONVERSATIONS = 37
HELD_BACK = EVENTS // 10
"""Sent once the update is over, so that there is something for the second revision."""
DEADLY_EVENT = EVENTS // 5
KILLED_AFTER = (0.1, 0.25)
NUM_STARTS = len(KILLED_AFTER) + 2
REDIS_AWAY_S = EVENTS / 1_000
FRAGILE_SERVE = ("-m", "tests.end_to_end.fragile_serve")
DETECTOR = {"detector": {"health_check_period_s": 1.0, "num_cpus": 0.5}}


def _event(number: int) -> dict[str, object]:
    response = DEADLY if number == DEADLY_EVENT else f"It is {number % 211 + number % 17}."
    return {
        "schema_version": 1,
        "event_id": f"e{number}",
        "conversation_id": f"c{number % CONVERSATIONS}",
        "occurred_at": "2026-01-31T12:00:00Z",
        "messages": [{"role": "user", "content": f"What is {number % 211} and {number % 17}?"}],
        "response": response,
    }


def test_each_event_comes_out_once_and_in_order_and_one_dead_letter_stands_for_the_text_that_kills(
    apache_kafka: KafkaSettings, redis_server: LocalRedis, tmp_path: Path
) -> None:
    topics = make_topics(apache_kafka, "trouble")
    config = write_config(tmp_path, apache_kafka, redis_server.url, name=topics, deployments=DETECTOR)
    log = tmp_path / "serve.log"
    send(apache_kafka, f"{topics}.in", map(_event, range(EVENTS - HELD_BACK)))
    with VerdictReader(apache_kafka, f"{topics}.out") as reader:

        def wait_for(share: float, process: ServeProcess) -> None:
            wait_until(lambda: reader.read() >= share * (EVENTS - 1), process, timeout_s=600.0)

        for killed_after in KILLED_AFTER:
            with ServeProcess(config, log, program=FRAGILE_SERVE) as process:
                wait_for(killed_after, process)
        with ServeProcess(config, log, program=FRAGILE_SERVE) as process:
            wait_for(0.3, process)
            redis_server.stop()
            time.sleep(REDIS_AWAY_S)
            redis_server.start()
            wait_for(0.4, process)
        assert count_committed(apache_kafka, topics) < EVENTS - HELD_BACK, "it was done before it was killed"
        with ServeProcess(config, log, program=FRAGILE_SERVE) as process:
            wait_until(lambda: process.log().count("weir is up") == NUM_STARTS, process)
            process.signal(signal.SIGUSR1)
            wait_until(lambda: reader.read() > 0 and UPDATED in process.log(), process)
            send(apache_kafka, f"{topics}.in", map(_event, range(EVENTS - HELD_BACK, EVENTS)))
            wait_for(1.0, process)
            assert process.terminate() == 0
        reader.read()

    expected = [number for number in range(EVENTS) if number != DEADLY_EVENT]
    assert reader.times_seen() == Counter(f"e{number}" for number in expected)
    for events in reader.by_conversation().values():
        assert events == sorted(events, key=lambda event_id: int(event_id[1:]))
    assert {verdict["model_revisions"]["detector"] for verdict in reader.verdicts} == {FIRST, SECOND}
    assert all(
        verdict["assessment"]["detector"] == verdict["model_revisions"]["detector"] for verdict in reader.verdicts
    )
    (letter,) = read_topic(apache_kafka, f"{topics}.dead")
    assert f'"e{DEADLY_EVENT}"'.encode() in (letter.value or b"")
    assert b"KillsTheModel" in {value for _, value in letter.headers}
